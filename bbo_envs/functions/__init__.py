"""Distributions over objectives."""
