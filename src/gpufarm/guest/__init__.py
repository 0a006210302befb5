"""What a guest sees of the cards that were claimed for it."""
