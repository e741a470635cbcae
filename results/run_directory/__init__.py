"""A run on disk: run.json, samples.jsonl, saved files, suites."""
