"""Servers with GPUs by PCI passthrough in an OpenStack cloud, kept true."""

__version__ = "0.1.0"
