"""Debian's packages: where this machine gets them from, and the commands that unpack them."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpufarm.lab.virthost import commands
from gpufarm.model.errors import CommandFailed, LabIncomplete

MIRROR_VARIABLE = "GPUFARM_DEBIAN_MIRROR"
CODENAMES = ("bullseye", "bookworm", "trixie", "forky", "sid")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

QEMU_SUITE = "trixie"
QEMU_SOURCE = "trixie-backports"
"""The first that has `vfio-user-pci`, which came with QEMU 10.1."""
QEMU_PACKAGES = (
    *("qemu-system-x86", "qemu-system-common", "qemu-system-data", "qemu-utils", "seabios"),
)

HOST_SUITE = "bookworm"


def mirror() -> str:
    """The Debian mirror of this machine's apt sources, or $GPUFARM_DEBIAN_MIRROR.

    LabIncomplete where neither names one.
    """
    named = os.environ.get(MIRROR_VARIABLE)
    if named:
        return named.rstrip("/")
    # It lists what an update would fetch, and needs no earlier one.
    uris = commands.run(["apt-get", "update", "--print-uris"], limit=60)
    found = find_mirror(uris)
    if found is None:
        raise LabIncomplete(
            "no Debian mirror in this machine's apt sources: name one that has "
            f"{HOST_SUITE} and {QEMU_SOURCE} with {MIRROR_VARIABLE}=URL"
        )
    return found


def find_mirror(uris: str) -> str | None:
    """The first repository with one of Debian's suites, in the output of `update --print-uris`."""
    suites = "|".join(CODENAMES)
    found = re.search(rf"^'(\S+?)/dists/(?:{suites})/InRelease'", uris, re.MULTILINE)
    return found[1] if found else None


@contextlib.contextmanager
def packages_of(uri: str) -> Iterator[None]:
    """LabIncomplete, with the last words of what failed, where they cannot be had from there."""
    try:
        yield
    except CommandFailed as error:
        raise LabIncomplete(
            f"no packages from the Debian mirror {uri}: look at its last words, and name another "
            f"one that has {HOST_SUITE} and {QEMU_SOURCE} with {MIRROR_VARIABLE}=URL; {error}"
        ) from error


def need_keys() -> None:
    """LabIncomplete where Debian's archive keys are missing, as on an Ubuntu."""
    if not KEYRING.exists():
        raise LabIncomplete(
            "Debian's archive keys are missing: `sudo apt-get install debian-archive-keyring`"
        )


def fetch_qemu(uri: str, target: Path) -> tuple[str, ...]:
    """The command that puts QEMU and the libraries that it needs, unpacked only, into a tar."""
    return (
        *("mmdebstrap", "--mode=root", "--variant=extract", "--format=tar", *_apt()),
        "--include=" + ",".join(f"{name}/{QEMU_SOURCE}" for name in QEMU_PACKAGES),
        *(QEMU_SUITE, str(target)),
        *_sources(uri, (QEMU_SUITE, QEMU_SOURCE)),
    )


def bootstrap(
    uri: str, target: Path, packages: Sequence[str], hooks: Sequence[str]
) -> tuple[str, ...]:
    """The command that installs a Debian with `packages` into the folder `target`."""
    unneeded = ("doc", "man", "locale", "info", "lintian")
    return (
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", *_apt()),
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in unneeded),
        "--dpkgopt=force-unsafe-io",
        *hooks,
        "--include=" + ",".join(packages),
        *(HOST_SUITE, str(target)),
        *_sources(uri, (HOST_SUITE,)),
    )


def _apt() -> tuple[str, ...]:
    return (
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"',
    )


def _sources(uri: str, suites: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"deb [signed-by={KEYRING}] {uri} {suite} main" for suite in suites)
