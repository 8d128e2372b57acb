"""What training notes of every epoch."""

Row = dict[str, float]
