"""One file per origin of tile encoders: what each is, without torch."""
