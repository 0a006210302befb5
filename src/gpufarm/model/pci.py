"""PCI functions: addresses, ids, and how Nova names their types."""

from typing import Annotated, Literal

from msgspec import Meta

PciAddress = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$",
        description="PCI address dddd:bb:dd.f, lower case",
    ),
]
PciId = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{4}$", description="four lower-case hex digits without 0x")
]
PciClass = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{6}$", description="class, subclass, interface: six hex digits")
]
Sriov = Literal["none", "pf", "vf"]
DeviceType = Literal["type-PCI", "type-PF", "type-VF"]

DISPLAY_CLASSES = frozenset({"0300", "0302", "0380"})
"""VGA controller, 3D controller, other display controller (pci.ids, class 03)."""


def placement_class(vendor_id: str, product_id: str) -> str:
    """The resource class of a device for which device_spec names none
    (nova/compute/pci_placement_translator.py, get_resource_class)."""
    return f"CUSTOM_PCI_{vendor_id}_{product_id}".upper()


def slot(address: str) -> str:
    """The address without its function: all functions of one slot are one card."""
    return address.rpartition(".")[0]


def function_number(address: str) -> int:
    return int(address[-1])


def device_type(sriov: Sriov) -> DeviceType:
    """Nova's name: a card with the SR-IOV capability reports type-PF, whatever it is used for."""
    types: dict[Sriov, DeviceType] = {"none": "type-PCI", "pf": "type-PF", "vf": "type-VF"}
    return types[sriov]
