"""Scenes of emoji on named procedural backgrounds: what the miniature is trained on and tested with."""
