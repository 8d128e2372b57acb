"""The log of training: one row for each epoch, with a number for each term."""

Row = dict[str, float]
