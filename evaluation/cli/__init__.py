"""Commands of ``car``, one module each: its ``register`` adds it to the application."""
