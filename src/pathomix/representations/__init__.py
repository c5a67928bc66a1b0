"""Vectors of patients: trained or frozen models whose output is probed, one file per representation."""
