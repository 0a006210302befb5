"""Without --prune a farm leaves the settings of cards that are not its own."""

from gpufarm.model.document import decode
from gpufarm.model.farm import Farm
from gpufarm.model.settings import parse
from gpufarm.nova import plan

ONE = {"k40c": {"vendor_id": "10de", "product_id": "1024"}}
OTHER = {"l40s": {"vendor_id": "10de", "product_id": "26b9"}}
ROLES = ("controller", "placement", "compute/gpu01")


def farm(name: str, cards: object) -> Farm:
    return decode(Farm, {"version": 1, "name": name, "release": 34, "cards": cards}, "farm.yaml")


def applied(wish: Farm, now: dict[str, str], *, prune: bool) -> dict[str, str]:
    roles = [change.name for change in plan.plan(wish, now, prune=prune)]
    return {**now, **plan.wanted(wish, roles, now, prune=prune)}


def test_a_second_farm_takes_nothing_from_the_first() -> None:
    now = applied(farm("one", ONE), dict.fromkeys(ROLES, ""), prune=False)
    both = applied(farm("other", OTHER), now, prune=False)
    for role in ("controller", "compute/gpu01"):
        aliases = parse(both[role]).flat()["[pci] alias"]
        assert len(aliases) == 2
    specs = parse(both["compute/gpu01"]).flat()["[pci] device_spec"]
    assert sorted(spec.split('"product_id": ')[1][1:5] for spec in specs) == ["1024", "26b9"]
    assert plan.plan(farm("other", OTHER), both, prune=False) == ()


def test_a_card_that_left_the_file_stays_until_it_is_pruned() -> None:
    now = applied(farm("one", ONE | OTHER), dict.fromkeys(ROLES, ""), prune=False)
    kept = applied(farm("one", ONE), now, prune=False)
    assert "26b9" in kept["compute/gpu01"]
    pruned = applied(farm("one", ONE), kept, prune=True)
    assert "26b9" not in "".join(pruned.values())
    assert "1024" in pruned["compute/gpu01"]


def test_an_own_value_that_was_changed_by_hand_is_put_right() -> None:
    now = applied(farm("one", ONE), dict.fromkeys(ROLES, ""), prune=False)
    changed = {role: text.replace("type-PCI", "type-PF") for role, text in now.items()}
    assert applied(farm("one", ONE), changed, prune=False) == now


def test_a_value_that_nova_does_not_take_goes() -> None:
    now = applied(farm("one", ONE), dict.fromkeys(ROLES, ""), prune=False)
    broken = {**now, "controller": now["controller"] + "alias = no json\n"}
    assert applied(farm("one", ONE), broken, prune=False) == now
