"""What keeps the cards of a host from being given to VMs, and what is worth knowing about them.

What is decided here: the order of findings, and which of them keep which card. Each rule is a pure
function of facts and cards; a new rule is a function in one of the modules beside this one, its
code in `codes`, its section in docs/reference/findings.md and a file in tests/cases/findings.
"""

from collections.abc import Callable, Iterator

from gpufarm.host.addresses import order
from gpufarm.host.cards import Card
from gpufarm.host.findings import boot, configuration, hardware, owners, platform, wisdom
from gpufarm.host.findings.codes import CODES
from gpufarm.model.facts import HostFacts
from gpufarm.model.finding import Finding

HostRule = Callable[[HostFacts, tuple[Card, ...]], Iterator[Finding]]
CardRule = Callable[[HostFacts, Card], Iterator[Finding]]

HOST_RULES: tuple[HostRule, ...] = (
    *platform.HOST_RULES,
    *configuration.HOST_RULES,
    *boot.HOST_RULES,
    *hardware.HOST_RULES,
    *wisdom.HOST_RULES,
)
CARD_RULES: tuple[CardRule, ...] = (
    *owners.CARD_RULES,
    *boot.CARD_RULES,
    *hardware.CARD_RULES,
)
"""Of cards that are not to be given away at all, only the first of these speaks."""

_RANK = {code: number for number, code in enumerate(CODES)}


def check(facts: HostFacts, cards: tuple[Card, ...]) -> tuple[Finding, ...]:
    """All findings: those of the host first, then card by card, each in the order of `CODES`."""
    found = [each for rule in HOST_RULES for each in rule(facts, cards)]
    for card in cards:
        rules = CARD_RULES if card.kind == "gpu" else CARD_RULES[:1]
        found += [each for rule in rules for each in rule(facts, card)]
    return tuple(sorted(found, key=_place))


def _place(finding: Finding) -> tuple[tuple[int, str], int, str]:
    where = order(finding.address) if finding.address else (-1, "")
    return where, _RANK[finding.code], finding.message


def blockers(findings: tuple[Finding, ...], card: Card) -> tuple[str, ...]:
    """The codes for which `card` cannot be given to a VM now, each once."""
    own = {each.address for each in card.functions} | {None}
    found = {each.code for each in findings if each.blocks and each.address in own}
    return tuple(sorted(found, key=lambda code: _RANK[code]))
