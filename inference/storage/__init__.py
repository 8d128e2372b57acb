"""Storage: descriptions of objects as plain values, checkpoints, and atomic writing of files."""
