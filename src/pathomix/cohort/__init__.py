"""Floor 1: from raw tables to the cohort artefacts, the splits and the typed `Cases` object."""
