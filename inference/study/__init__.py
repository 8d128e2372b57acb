"""Studies: runs for models × data sets × numbers of labels × seeds, each in a run folder, and a table of results."""
