"""Seeding, optimisation loop, selection on the valid part."""
