"""What is kept in files: objects as plain values, checkpoints, and files that are written whole."""
