"""One module per benchmark data set."""
