"""f, the mask proposal generator: trunk, Grad-CAM, affinity."""
