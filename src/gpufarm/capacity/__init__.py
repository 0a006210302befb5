"""Cards in total, used, free, and what can still start."""
