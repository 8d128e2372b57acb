"""The explorer: a local web page to classify drawings by a run, decode its latent space and sample from it."""
