"""Floor 0: artefact I/O, schemas, identifiers, provenance, errors. Imports nothing above it."""
