"""Findings from the catalogue of known models."""

from collections.abc import Iterator

from gpufarm.host import known
from gpufarm.host.cards import Card
from gpufarm.host.findings.codes import count, finding
from gpufarm.host.known import Figure, KnownCard, Truth
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding

NVSWITCH = ("10de", "0680")
"""NVIDIA's NVSwitches are `other bridges` (pci.ids, 10de)."""


Cards = tuple[Card, ...]


def _models(cards: Cards) -> Iterator[tuple[KnownCard, str | None, str]]:
    """(model, address or None where there are several, `NAME (3 cards)`) of known models."""
    found: dict[str, tuple[KnownCard, list[str]]] = {}
    for card in cards:
        model = known.card(card.display.vendor_id, card.display.product_id)
        if model and card.kind == "gpu" and card.sriov != "vf":
            found.setdefault(model.name, (model, []))[1].append(card.address)
    for model, addresses in found.values():
        one = len(addresses) == 1
        yield (
            model,
            addresses[0] if one else None,
            f"{model.name} ({count(len(addresses), 'card')})",
        )


def _noted(figure: Figure | Truth) -> str:
    note = f"{figure.note}; " if figure.note else ""
    return f"({note}source: {known.source(figure)})"


def resets_badly(_: HostFacts, cards: Cards) -> Iterator[Finding]:
    for model, address, counted in _models(cards):
        if model.resets_badly and model.resets_badly.value:
            yield finding(
                "RESETS_BADLY",
                address,
                f"{counted} is known not to come back from a reset after a VM "
                f"{_noted(model.resets_badly)}",
                "try it: start, stop and start a VM with it; if it fails, use the module "
                "vendor-reset",
            )


def hide_kvm(_: HostFacts, cards: Cards) -> Iterator[Finding]:
    for model, address, counted in _models(cards):
        if model.hide_kvm and model.hide_kvm.value:
            yield finding(
                "HIDE_KVM",
                address,
                f"{counted}: its driver may refuse to work where it sees KVM "
                f"{_noted(model.hide_kvm)}",
                "set hide_kvm: true on flavors with this card in the farm file",
            )


def limits(_: HostFacts, cards: Cards) -> Iterator[Finding]:
    for model, address, counted in _models(cards):
        if model.nvenc_sessions:
            yield finding(
                "CARD_LIMIT",
                address,
                f"{counted}: at most {model.nvenc_sessions.value} video encodes at once "
                f"{_noted(model.nvenc_sessions)}",
                "tell users, or offer a card without this limit for video",
            )


def divisible(_: HostFacts, cards: Cards) -> Iterator[Finding]:
    for model, address, counted in _models(cards):
        ways = []
        if model.mig:
            ways.append(f"MIG, up to {model.mig.value} instances {_noted(model.mig)}")
        if model.sriov and model.sriov.value:
            ways.append(f"SR-IOV {_noted(model.sriov)}")
        if ways:
            yield finding(
                "CARD_DIVISIBLE",
                address,
                f"{counted} can be shared between VMs by {' and by '.join(ways)}",
                "nothing, if it is to be given away whole; Nova then needs device_type type-PF "
                "where the card shows SR-IOV",
            )


def nvswitch(facts: HostFacts, cards: tuple[Card, ...]) -> Iterator[Finding]:
    switches = [
        each.address for each in facts.functions if (each.vendor_id, each.class_id[:4]) == NVSWITCH
    ]
    joined = [card for card in cards if card.kind == "gpu" and card.first.vendor_id == "10de"]
    if switches and joined:
        yield finding(
            "NVSWITCH",
            None,
            f"{count(len(joined), 'card')} and {len(switches)} NVSwitches make one fabric: "
            f"{', '.join(switches)}",
            "give all cards and switches to one VM, or run the Fabric Manager in its shared mode "
            "and give away the cards of a partition together; a card alone works without NVLink",
        )


HOST_RULES = (resets_badly, hide_kvm, limits, divisible, nvswitch)
