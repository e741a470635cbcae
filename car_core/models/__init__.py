"""CLIP models: names, weights, downloads, text encoder, transformer blocks."""
