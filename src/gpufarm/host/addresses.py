"""PCI addresses as the kernel writes them."""

import re

ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
"""A domain has more than four digits behind Intel VMD and on Hyper-V (drivers/pci/controller)."""


def order(address: str) -> tuple[int, str]:
    """Sorts addresses as numbers: a longer domain is a larger one."""
    domain, _, rest = address.partition(":")
    return int(domain, 16), rest
