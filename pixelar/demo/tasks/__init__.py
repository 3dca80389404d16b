"""The computations behind the tabs."""
