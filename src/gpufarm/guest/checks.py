"""What a guest sees against what was claimed for it: a pure function of both.

What is decided here: which checks there are, and that one whose source was not read says so in
place of an answer.
"""

import re
from collections import Counter
from typing import Literal

import msgspec

from gpufarm.guest.seen import Function, Seen

Result = Literal["ok", "wrong", "not checked"]

_CLASS = re.compile(r"^CUSTOM_PCI_([0-9A-F]{4})_([0-9A-F]{4})$")
"""Nova's name for a card where no resource_class is set (compute/pci_placement_translator.py)."""

_HIDDEN = re.compile(r"<kvm>.{0,400}?<hidden\s+state=['\"]on['\"]", re.DOTALL)

DISPLAY = "03"
VIRTUAL = frozenset(("1234", "15ad", "1af4", "1b36"))
"""Vendors of what the hypervisor itself shows: QEMU, VMware, virtio, Red Hat."""


class Claimed(msgspec.Struct, frozen=True):
    """`cards` is {resource class: how many the server holds}; `hidden`: KVM is to be hidden."""

    cards: dict[str, int]
    hidden: bool = False


class Check(msgspec.Struct, frozen=True):
    check: str
    result: Result
    said: str


def checks(
    claimed: Claimed, seen: Seen | None, domain: str | None, *, ssh: bool
) -> tuple[Check, ...]:
    """`seen` None, or a list that does not end: the guest shows nothing. `domain` is its XML as
    libvirt has it; `ssh`: what it sees was asked over SSH."""
    ids = _ids(claimed)
    inside = seen if seen is not None and seen.whole and seen.functions else None
    return (
        *_of_functions(claimed, ids, inside),
        _hidden(claimed, inside, domain),
        *_of_drivers(ids, inside, ssh=ssh),
    )


def _ids(claimed: Claimed) -> Counter[tuple[str, str]]:
    """{(vendor, product): number}, of the classes that say it."""
    found: Counter[tuple[str, str]] = Counter()
    for name, number in claimed.cards.items():
        match = _CLASS.match(name)
        if match:
            found[match[1].lower(), match[2].lower()] += number
    return found


def _of_functions(
    claimed: Claimed, ids: Counter[tuple[str, str]], seen: Seen | None
) -> list[Check]:
    names = ("functions", "one model")
    if seen is None:
        text = "its console shows no list of PCI functions: --ssh asks the guest"
        return [Check(name, "not checked", text) for name in names]
    inside = Counter((each.vendor_id, each.product_id) for each in seen.functions)
    lines = []
    for key, number in sorted(ids.items()):
        result = f"{inside[key]} of {number} {':'.join(key)}"
        lines.append((inside[key] == number, result))
    said = ", ".join(text for _, text in lines) or "nothing is claimed"
    unknown = sorted(name for name in claimed.cards if not _CLASS.match(name))
    if unknown and not lines:
        found = Check("functions", "not checked", f"{unknown[0]} does not say which id it is of")
    else:
        found = Check("functions", "ok" if all(ok for ok, _ in lines) else "wrong", said)
    models = sorted({f"{each.vendor_id}:{each.product_id}" for each in _gpus(seen)})
    one = Check("one model", "ok" if len(models) <= 1 else "wrong", ", ".join(models) or "no GPU")
    return [found, one]


def _gpus(seen: Seen) -> list[Function]:
    return [
        each
        for each in seen.functions
        if each.class_id.startswith(DISPLAY) and each.vendor_id not in VIRTUAL
    ]


def _hidden(claimed: Claimed, seen: Seen | None, domain: str | None) -> Check:
    """By what the guest finds itself, and by its domain: each may be wrong alone."""
    if not claimed.hidden:
        return Check("KVM hidden", "ok", "neither its flavor nor its image asks for it")
    looks = []
    if seen is not None and seen.kvm is not None:
        found = "KVM's clock" if seen.kvm else "no KVM"
        looks.append((not seen.kvm, f"the guest finds {found}"))
    if domain is not None:
        hides = bool(_HIDDEN.search(domain))
        text = "libvirt hides it" if hides else "its domain does not have <hidden state='on'/>"
        looks.append((hides, text))
    if not looks:
        return Check("KVM hidden", "not checked", "--domain names its XML from `virsh dumpxml`")
    against = [text for well, text in looks if not well]
    said = against or [text for _, text in looks]
    return Check("KVM hidden", "wrong" if against else "ok", ", ".join(said))


def _of_drivers(ids: Counter[tuple[str, str]], seen: Seen | None, *, ssh: bool) -> list[Check]:
    if seen is None or not ssh:
        text = "only the guest itself shows it: --ssh"
        return [Check(name, "not checked", text) for name in ("driver", "CUDA")]
    ours = [each for each in seen.functions if (each.vendor_id, each.product_id) in ids]
    bare = [each.address for each in ours if each.driver in {None, "none"}]
    driver = Check(
        "driver",
        "wrong" if bare else "ok",
        f"none for {', '.join(bare)}"
        if bare
        else ", ".join(sorted({str(each.driver) for each in ours})) or "nothing is claimed",
    )
    if seen.cuda is None:
        return [driver, Check("CUDA", "not checked", "the guest has no nvidia-smi")]
    gpus = sum(each.class_id.startswith(DISPLAY) for each in ours)
    result: Result = "ok" if seen.cuda == gpus else "wrong"
    return [driver, Check("CUDA", result, f"nvidia-smi lists {seen.cuda} of {gpus}")]
