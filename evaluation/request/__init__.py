"""What is asked for, checked without importing torch: options, benchmarks, methods, inputs."""
