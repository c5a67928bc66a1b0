"""The embedding engine: slides in, blocks of features out; decoding in processes, encoding on one device."""
