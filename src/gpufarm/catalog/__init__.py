"""Flavors, aggregates and images: what a farm wants, what differs, making it equal."""
