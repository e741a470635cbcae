"""What makes the method fast on many images: batches, a cache, timers, rendering."""
