"""The explorer: a local page to draw for a run, walk its latent space, and sample from it."""
