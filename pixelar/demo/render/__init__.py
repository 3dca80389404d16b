"""Results as pictures and plots for the page."""
