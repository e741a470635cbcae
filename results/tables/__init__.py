"""Tables of runs: figures, comparisons, golden files."""
