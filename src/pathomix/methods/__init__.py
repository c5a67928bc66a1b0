"""Floor 3: one file per method behind one contract, `fit` and `predict`."""
