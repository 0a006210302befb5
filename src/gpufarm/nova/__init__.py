"""Nova's settings for a farm, as pure functions of the farm file."""
