"""Tile encoders: a registry of pathology foundation models, built explicitly and loaded strictly from local files."""
