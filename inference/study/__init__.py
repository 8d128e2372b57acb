"""Studies: models × data × numbers of labels × seeds, each run an ordinary run folder, and one table of them all."""
