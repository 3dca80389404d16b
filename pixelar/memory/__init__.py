"""How much memory a computation takes, and how much there is."""
