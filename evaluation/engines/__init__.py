"""What segments a run's samples: local processes or Ray actors."""
