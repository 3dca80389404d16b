"""Drawing images: whole, from what is known, and as weighted guesses."""
