"""Architectures on tensors; no files, no patients."""
