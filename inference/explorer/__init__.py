"""The explorer: a local web page on which to try a run: drawings, points or rows, the latent space, samples."""
