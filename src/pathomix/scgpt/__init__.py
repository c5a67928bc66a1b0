"""scGPT: gene tokens in, one vector per cell or bulk sample out; reads the official checkpoint directory."""
