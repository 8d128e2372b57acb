"""Benchmarks of training: against a hand-written step and the machine's arithmetic limit. They are not tests."""
