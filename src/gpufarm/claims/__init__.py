"""Who has which card, by every layer that has a say in it; claims that are wrong, and cordons."""
