"""A local archive that speaks like the GDC, Xena and CELLxGENE, and fails on request like they do."""
