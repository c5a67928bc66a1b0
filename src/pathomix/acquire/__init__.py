"""Acquisition: what a cohort needs from public archives, locked, resumed, verified."""
