"""Slides to features: reading at a physical scale, tissue, tiles, encoders and the store of features."""
