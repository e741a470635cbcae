"""Several runs together: suites and sweeps."""
