"""Hosts and their cards: what is there, and what keeps a card from being given to a VM."""
