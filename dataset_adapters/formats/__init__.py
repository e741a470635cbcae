"""Readers of file formats: images, MATLAB, pickles, COCO masks and annotations."""
