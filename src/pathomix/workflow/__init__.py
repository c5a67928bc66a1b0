"""What the Snakefile calls: configuration, targets, code digests. Light imports only (runner environment)."""
