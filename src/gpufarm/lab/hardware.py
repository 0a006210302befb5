"""Host files: reading those that the user names, and the hosts of a lab that names none."""

from collections.abc import Iterable
from pathlib import Path

from gpufarm.model import document, host
from gpufarm.model.errors import DocumentError
from gpufarm.model.host import HostFile, HostFunction


def read(paths: Iterable[Path]) -> tuple[HostFile, ...]:
    """The hosts of these files, and of every .yaml file in those of `paths` that are folders."""
    files = [file for path in paths for file in _files(path)]
    return host.expand((str(file), document.read(HostFile, file)) for file in files)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in {".yaml", ".yml"})
    if not found:
        raise DocumentError(str(path), "$", "a folder without host files (*.yaml)")
    return found


def default() -> tuple[HostFile, ...]:
    """Three hosts of two cards each, so that there is something to see."""
    cards = tuple(
        HostFunction(
            address=f"0000:{bus}:00.0",
            vendor_id="10de",
            product_id="20b5",  # GA100 [A100 PCIe 80GB] (pci.ids)
            class_id="030200",
            iommu_group=group,
            numa_node=0,
            driver="vfio-pci",
            sriov="pf",
        )
        for bus, group in (("3b", 27), ("af", 61))
    )
    one = HostFile(
        version=1,
        name="gpu",
        count=3,
        vcpus=32,
        memory_mb=262144,
        disk_gb=2000,
        pci_functions=cards,
    )
    return host.expand([("the lab's own hosts", one)])
