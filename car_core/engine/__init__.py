"""What makes the method fast on many images: devices, precision, batches, a cache, timers."""
