"""Sampling whole images, completing known parts, and weighted posterior samples."""
