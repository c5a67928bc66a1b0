"""Measurements, repeated by `make bench`; never asserted in a test."""
