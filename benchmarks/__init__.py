"""How fast a training step is, against the same mathematics by hand and against the machine. Never a test."""
