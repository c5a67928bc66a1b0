"""Floor 1: gene sets and expression; knows frames and files of gene sets, no patients' tables."""
