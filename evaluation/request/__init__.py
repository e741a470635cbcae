"""Requests, checked without importing torch: options, benchmarks, methods, inputs."""
