"""What the lab says of its hosts, guests and database: the layers below Nova."""

import msgspec

from gpufarm.lab import config
from gpufarm.lab.state import Lab
from gpufarm.model.claims import Guest, HostCard

UNSAID = "vfio-pci"
"""A host file need not name drivers; the cards of such a host are taken to be prepared."""


class _Saved(msgspec.Struct):
    """A guest as the simulated driver keeps it (see inside.driver)."""

    name: str
    devices: list[str]


def databases(lab: Lab) -> tuple[str, ...]:
    """URLs of the cells' databases."""
    return (config.database_url(lab, config.NOVA_CELL_DATABASE),)


def guests(lab: Lab) -> dict[str, tuple[Guest, ...]]:
    """{host: its guests}."""
    return {name: _guests(lab, name) for name in lab.hosts}


def hosts(lab: Lab) -> dict[str, dict[str, HostCard]]:
    """{host: {address: function}}."""
    found = {}
    for name in lab.hosts:
        holders = {device: each.name for each in _guests(lab, name) for device in each.devices}
        found[name] = {
            function.address: HostCard(
                driver=function.driver or UNSAID, holder=holders.get(function.address)
            )
            for function in lab.host(name).pci_functions
        }
    return found


def _guests(lab: Lab, host: str) -> tuple[Guest, ...]:
    path = lab.path("guests", f"{host}.json")
    if not path.exists():
        return ()
    saved = msgspec.json.decode(path.read_bytes(), type=dict[str, _Saved])
    return tuple(
        Guest(id=key, name=each.name, devices=frozenset(each.devices))
        for key, each in sorted(saved.items())
    )
