"""Slide-level foundation models: described, built, loaded strictly, fed in their own coordinate frame."""
