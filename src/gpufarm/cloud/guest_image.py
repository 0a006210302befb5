"""The tiny guest of the lab's real hosts, as images: a kernel, its initramfs, an empty disk.

It prints the PCI functions that it sees on its console and shows them as a web page, and stays.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufarm.cloud.connect import faults

if TYPE_CHECKING:
    from openstack.connection import Connection

NAME = "gpu-console"
KERNEL, INITRD = f"{NAME}-kernel", f"{NAME}-initrd"
DISK_BYTES = 1 << 20
"""A disk that nobody reads: Nova wants one beside a kernel."""

PROPERTIES = {
    "os_command_line": "console=ttyS0 quiet stay",
    "hw_machine_type": "q35",
    "hw_video_model": "none",
    "service_url": "http://{}/",
}


def ensure(connection: "Connection", kernel: Path, initrd: Path) -> bool:
    """Have all three in Glance, for every project; whether one was missing. Raises CloudError."""
    with faults("registering the guest image"):
        if connection.image.find_image(NAME):
            return False
        ids = {
            "kernel_id": _put(connection, KERNEL, "aki", kernel.read_bytes()),
            "ramdisk_id": _put(connection, INITRD, "ari", initrd.read_bytes()),
        }
        _put(connection, NAME, "raw", bytes(DISK_BYTES), **ids, **PROPERTIES)
        return True


def _put(
    connection: "Connection", name: str, disk_format: str, data: bytes, **properties: Any
) -> str:
    """The id of the image; one that an interrupted run has left is replaced."""
    for leftover in connection.image.images(name=name):
        connection.image.delete_image(leftover.id)
    image = connection.image.create_image(
        name=name,
        data=data,
        disk_format=disk_format,
        container_format="bare" if disk_format == "raw" else disk_format,
        visibility="public",
        validate_checksum=False,
        **properties,
    )
    return str(image.id)
