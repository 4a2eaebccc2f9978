"""Comparing optimisers: runs, their store, figures of merit, and pictures."""
