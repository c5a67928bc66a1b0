"""Floor 4: metrics, their uncertainty, and what the figures need, from predictions alone."""
