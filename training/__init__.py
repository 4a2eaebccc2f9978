"""Training learned optimisers."""
