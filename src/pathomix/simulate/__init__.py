"""TCGA in a shoebox: seeded cohorts with known truth, raw tables and slides included."""
