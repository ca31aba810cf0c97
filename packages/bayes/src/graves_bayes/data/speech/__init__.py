"""Speech: recordings, their features, and data sets of them."""
