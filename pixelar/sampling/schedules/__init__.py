"""In which order sites are drawn, and how many at once."""
