"""The packaged models: their index, cards and publishing."""
