"""What images score: evaluation, its report and its metric, and what the score depends on."""
