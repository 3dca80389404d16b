"""What all other parts build on: plain values in and out, and torch's special cases."""
