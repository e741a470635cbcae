"""Data sets of your own: folders, Hugging Face, lists of classes."""
