"""The models that come with the package: their index, cards and publishing."""
