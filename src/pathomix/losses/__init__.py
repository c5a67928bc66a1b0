"""Training losses on tensors; no files, no patients."""
