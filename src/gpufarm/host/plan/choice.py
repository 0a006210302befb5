"""Which functions of this host a host spec means."""

from collections.abc import Iterator

import msgspec

from gpufarm.host import known, ours
from gpufarm.host.cards import Card, cards
from gpufarm.host.ids import Names
from gpufarm.host.ours import Given
from gpufarm.model.facts import HostFacts, PciFunction
from gpufarm.model.finding import Finding
from gpufarm.model.host_spec import CardChoice, HostSpec
from gpufarm.model.pci import slot

AUDIO_CLASSES = ("0403", "0401")
"""Audio device, multimedia audio controller (pci.ids, class 04)."""


class Choice(msgspec.Struct, frozen=True):
    """`given` are the functions that leave the host, `before` those that left it the last time."""

    cards: tuple[Card, ...]
    given: tuple[Given, ...]
    before: tuple[Given, ...]


def choose(facts: HostFacts, spec: HostSpec, names: Names) -> tuple[Choice, tuple[Finding, ...]]:
    """The functions, and a refusal for each choice of the spec that means no card of this host."""
    before = tuple(ours.parse_functions(ours_on(facts).get(ours.FUNCTIONS)))
    chosen: dict[str, Card] = {}
    given: dict[str, Given] = {}
    refused: list[Finding] = []
    for choice in spec.cards:
        meant = [card for card in cards(facts) if _means(choice, card, names)]
        refused += _refuse(facts, choice, meant)
        for card in meant:
            # What is said first counts: an address before the model that it belongs to.
            if card.address not in chosen:
                chosen[card.address] = card
                given |= {each.address: each for each in _given(card, choice, spec, before)}
    parts = (tuple(chosen.values()), tuple(sorted(given.values())), before)
    return Choice(*parts), tuple(refused)


def ours_on(facts: HostFacts) -> dict[str, str]:
    """{path: text} of our files that the host has.

    Of a list of modules facts have the modules, from which its text is made again.
    """
    found = {file.path: file.text for file in facts.boot.files if file.path in ours.PATHS}
    modules = [each.module for each in facts.boot.load if each.path == ours.MODULES]
    return found | ({ours.MODULES: ours.modules_text(modules)} if modules else {})


def _means(choice: CardChoice, card: Card, names: Names) -> bool:
    if choice.address:
        return slot(choice.address) == slot(card.address)
    if choice.model:
        return card.kind == "gpu" and choice.model in _called(card.display, names)
    return card.kind == "gpu" and any(
        (each.vendor_id, each.product_id) == (choice.vendor_id, choice.product_id)
        for each in card.functions
    )


def _called(function: PciFunction, names: Names) -> Iterator[str]:
    """Every name of a model: all of it, what stands in its brackets, and our table's."""
    name = names.product(function.vendor_id, function.product_id) or function.name
    if name:
        yield name
        if name.endswith("]") and "[" in name:
            yield name[name.index("[") + 1 : -1]
    listed = known.card(function.vendor_id, function.product_id)
    if listed:
        yield listed.name


def _given(
    card: Card, choice: CardChoice, spec: HostSpec, before: tuple[Given, ...]
) -> Iterator[Given]:
    for function in card.functions:
        yield Given.of(function, None if _goes(choice, function) else spec.method)
    there = {each.address for each in card.functions}
    for each in before:
        missing = each.driver is None and each.address not in there
        if missing and slot(each.address) == slot(card.address):
            # What was taken off the bus is seen no more: it still has to go at the next boot, or
            # comes back to be bound.
            driver = None if choice.functions == "remove" else spec.method
            yield msgspec.structs.replace(each, driver=driver)


def _goes(choice: CardChoice, function: PciFunction) -> bool:
    return choice.functions == "remove" and function.class_id.startswith(AUDIO_CLASSES)


def _refuse(facts: HostFacts, choice: CardChoice, meant: list[Card]) -> Iterator[Finding]:
    if not meant:
        there = ", ".join(card.address for card in cards(facts) if card.kind == "gpu") or "none"
        yield refusal(
            "CARD_NOT_FOUND",
            choice.address,
            f"{choice.words} is no card of this host; its cards: {there}",
            "`gpufarm host scan` lists the cards with their ids",
        )
    for card in meant:
        if card.kind != "gpu":
            what = {"bmc": "of a management controller", "integrated": "inside of the processor"}
            yield refusal(
                "NOT_A_CARD",
                card.address,
                f"{card.address} is the display {what[card.kind]}, which stays with the host",
                "name a card with `kind` gpu in `gpufarm host scan`",
            )
        elif card.boot_vga and not choice.boot_vga:
            yield refusal(
                "BOOT_VGA",
                card.address,
                f"{card.address} is the boot VGA: the firmware and the console of the host use it",
                "make another display the first one in the firmware; or name the others by their "
                "addresses; or this one, with `boot_vga: true`, and the host has no screen",
            )


def refusal(code: str, address: str | None, message: str, fix: str) -> Finding:
    return Finding(
        code=code, severity="error", address=address, message=message, fix=fix, blocks=True
    )
