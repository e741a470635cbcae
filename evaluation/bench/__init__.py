"""How fast the method runs here: stages, encoders against the machine's matrix products, the released order of work."""
