"""What builds the networks of tile encoders, and knows the layouts of their authors' files."""
