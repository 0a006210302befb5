"""The only door to OpenStack: connecting, bulk reads into values, single writes."""
