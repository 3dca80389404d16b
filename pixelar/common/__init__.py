"""What everything above rests on: plain values in and out, and torch's corners."""
