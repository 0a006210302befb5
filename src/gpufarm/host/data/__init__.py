"""Tables about hardware, each figure with its source."""
