"""Frozen values that every other part speaks in. No I/O; imports nothing of ours."""
