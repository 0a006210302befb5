"""The commands. A command parses, calls slices, and returns columns and rows."""
