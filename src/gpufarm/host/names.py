"""Where names of cards come from: the pci.ids of the host itself, or else of this machine."""

from gpufarm.host import known
from gpufarm.host.ids import Names
from gpufarm.model.facts import PciFunction
from gpufarm.system.root import Root

PLACES = ("/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids")
"""Debian's, and that of the RHEL family and SUSE."""


def load(*roots: Root) -> Names:
    """The first pci.ids among `roots`; names nobody where there is none."""
    for root in roots:
        for place in PLACES:
            data = root.read(place)
            if data:
                return Names(data)
    return Names()


def name(function: PciFunction, names: Names) -> str | None:
    """The product's name: of pci.ids, of the text that it was read from, or of the catalogue."""
    model = known.card(function.vendor_id, function.product_id)
    return (
        names.product(function.vendor_id, function.product_id)
        or function.name
        or (model.name if model else None)
    )
