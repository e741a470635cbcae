"""Pages of runs: the report of each run, and the index of many."""
