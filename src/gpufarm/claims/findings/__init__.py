"""Claims that no longer match reality: a pure function of what the four layers say.

What is decided here: the order of findings. Which code a claim gets, which layer is wrong, and the
smallest repair is decided in a module for each layer. A layer that was not read supports no
finding; a server or migration that moved a moment ago is left alone.
"""

from gpufarm.claims.findings import host, hypervisor, nova, placement
from gpufarm.claims.findings.finding import Finding
from gpufarm.claims.view import View
from gpufarm.model.claims import Layers

__all__ = ("Finding", "findings")


def findings(layers: Layers, patience: float) -> tuple[Finding, ...]:
    """Everything that does not match, by host and address; `patience` in seconds."""
    view = View(layers, patience)
    found: list[Finding] = []
    for card in view.cards:
        found += placement.of_allocations(view, card)
        found += hypervisor.of_guests(view, card)
        found += host.of_hardware(view, card)
        found += nova.of_settings(view, card)
    found += nova.of_rows(view)
    found += nova.of_builds(view)
    found += placement.of_hosts(view)
    return tuple(
        sorted(
            found, key=lambda each: (each.host, each.address or "", each.code, each.holder or "")
        )
    )
