"""Networks that turn the input parameters and the time into the parameters of the output distribution."""
