"""Pictures of your own: `car segment` and the demo."""
