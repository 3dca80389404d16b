"""Scoring images: evaluation, its report and its metric, and what a score depends on."""
