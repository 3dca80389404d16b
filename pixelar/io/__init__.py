"""Models on disk: folders, checkpoints, and files that other programs wrote."""
