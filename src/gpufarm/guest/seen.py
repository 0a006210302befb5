"""What a guest shows of its PCI functions: on its console, or to a script over SSH.

What is decided here: which lines are taken. A line is `guest: 0000:00:05.0 10de:1b80 030000`, with
`0x` before a number or not, the driver behind it or not, and anything before `guest:`, as a kernel
or a logger puts it; every other line is left out, since a console holds whatever the guest prints.

Whether the guest can tell that it runs on KVM is read from its clocks: Linux has `kvm-clock` where
CPUID has KVM's signature (arch/x86/kernel/kvmclock.c), which any user of the guest may look at.
"""

import re

import msgspec

SCRIPT = """\
for device in /sys/bus/pci/devices/*; do
    driver=$(readlink "$device/driver") || driver=none
    echo "guest: ${device##*/} $(cat "$device/vendor"):$(cat "$device/device") \
$(cat "$device/class") ${driver##*/}"
done
echo "guest: clocks $(cat /sys/devices/system/clocksource/clocksource0/available_clocksource)"
command -v nvidia-smi >/dev/null && { echo "guest: nvidia-smi"; nvidia-smi -L; }
echo "guest: ready"
"""
"""Run by the guest's sh; nvidia-smi prints a line `GPU 0: NAME (UUID: ...)` for each GPU."""

MOST_LINES = 20_000
_HEX4, _HEX6 = "(?:0x)?([0-9a-fA-F]{4})", "(?:0x)?([0-9a-fA-F]{6})"
_FUNCTION = re.compile(
    r"guest: ((?:[0-9a-fA-F]{4,8}:)[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]) "
    rf"{_HEX4}:{_HEX4} {_HEX6}(?: ([\w-]{{1,64}}))?\s*$"
)
_CLOCKS = re.compile(r"guest: clocks( [\w -]+)")
KVM_CLOCK = "kvm-clock"
_CUDA = re.compile(r"^GPU \d+: ")


class Function(msgspec.Struct, frozen=True):
    """A PCI function in the guest; `driver` is None where it was not said, `none` without one."""

    address: str
    vendor_id: str
    product_id: str
    class_id: str
    driver: str | None = None


class Seen(msgspec.Struct, frozen=True):
    """`whole`: the list ended with its last line. `cuda` is the number of GPUs that nvidia-smi
    lists; None where the guest has none. `kvm`: whether it has KVM's clock; None where unsaid."""

    functions: tuple[Function, ...] = ()
    whole: bool = False
    cuda: int | None = None
    kvm: bool | None = None


def parse(text: str) -> Seen:
    """The last list in `text`: a guest that was started twice printed two."""
    found: dict[str, Function] = {}
    whole, cuda, kvm = False, None, None
    for line in text.splitlines()[-MOST_LINES:]:
        match = _FUNCTION.search(line)
        if match:
            if whole:
                found, whole, cuda, kvm = {}, False, None, None
            address, vendor, product, class_id, driver = match.groups()
            found[address.lower()] = Function(
                address.lower(), vendor.lower(), product.lower(), class_id.lower(), driver
            )
        elif clocks := _CLOCKS.search(line):
            kvm = KVM_CLOCK in clocks[1].split()
        elif "guest: nvidia-smi" in line:
            cuda = 0
        elif cuda is not None and _CUDA.match(line):
            cuda += 1
        elif line.rstrip().endswith("guest: ready"):
            whole = True
    return Seen(tuple(found.values()), whole, cuda, kvm)
