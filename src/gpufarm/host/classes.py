"""PCI classes, as far as they matter for passthrough (pci.ids, section C)."""

from gpufarm.model.pci import DISPLAY_CLASSES

XGA = "0301"
ACCELERATOR = "1200"
"""Processing accelerators: AMD's MI300 and Habana's cards, but FPGAs of others too."""
ACCELERATOR_VENDORS = frozenset(("1002", "10de", "1da3"))

BRIDGE = "06"
AUDIO = "0403"

NAMES = {
    "VGA compatible controller": "0300",
    "XGA compatible controller": "0301",
    "3D controller": "0302",
    "Display controller": "0380",
    "Audio device": "0403",
    "Multimedia audio controller": "0401",
    "USB controller": "0c03",
    "Serial bus controller": "0c80",
    "PCI bridge": "0604",
    "Host bridge": "0600",
    "ISA bridge": "0601",
    "Bridge": "0680",
    "Processing accelerators": "1200",
    "SCSI storage controller": "0100",
    "Unclassified device": "00ff",
    "Mass storage controller": "0180",
    "Non-Volatile memory controller": "0108",
    "Ethernet controller": "0200",
    "Infiniband controller": "0207",
    "SATA controller": "0106",
    "RAID bus controller": "0104",
    "Serial Attached SCSI controller": "0107",
    "System peripheral": "0880",
    "SMBus": "0c05",
    "Signal processing controller": "1180",
    "Communication controller": "0780",
    "Serial controller": "0700",
    "Encryption controller": "1080",
    "Co-processor": "0b40",
}
"""Names that lspci prints without -n; used where there is no pci.ids."""


def is_display(class_id: str) -> bool:
    """Whether a function of this class may be what a card is for."""
    return class_id[:4] in DISPLAY_CLASSES or class_id[:4] in (XGA, ACCELERATOR)


def is_bridge(class_id: str) -> bool:
    return class_id.startswith(BRIDGE)
