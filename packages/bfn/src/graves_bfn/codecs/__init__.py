"""How batches of a DataModule become the data of a flow, and back into something to look at."""
