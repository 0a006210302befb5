"""The networks of real hosts: to each other, and to the guests on them.

Between them is what it takes for Nova to bring a server's disk to another host:
nova-compute learns the other host's address from Nova, which is that host's `my_ip`, and runs
`ssh` and `scp` there as its own user; nobody answers their questions (nova 34, nova/utils.py,
ssh_execute; virt/libvirt/driver.py, migrate_disk_and_power_off). So every host has an address of
its own, one key opens all of them to each other, and each knows the others' host keys beforehand.

Each host leads its guests to itself and nowhere else: a bridge takes every TAP device that
nova-compute makes, and announces the prefix of the lab's one network. What address a guest makes of
that prefix and of its MAC (EUI-64, RFC 4291) Neutron knows beforehand (`ipv6_address_mode: slaac`),
so that no agent has to tell the guest.
"""

from collections.abc import Mapping

from gpufarm.lab.config import GUEST_PREFIX
from gpufarm.lab.virthost.machine import Peer
from gpufarm.lab.virthost.qemu import SERVICES_ADDRESS

NAME = "real"
MOST = 20
"""Each host is made with the way to all that there may be: others join while it runs."""

KEY = "id_between"
"""Among the state folder's keys: the one with which real hosts reach each other."""

OPEN, OWN = 0o644, 0o600
"""Rights of the files below."""

SSH_CONFIG = """\
Host *
    IdentitiesOnly yes
    StrictHostKeyChecking yes
    PasswordAuthentication no
    # The default, sntrup761x25519, takes the emulated CPU much longer.
    KexAlgorithms curve25519-sha256
"""

NETWORKD = "/etc/systemd/network/"
GUESTS = {
    "30-guests.netdev": "[NetDev]\nName=guests\nKind=bridge\n",
    "30-guests.network": (
        "[Match]\nName=guests\n"
        f"[Network]\nAddress={GUEST_PREFIX.replace('/', '1/')}\nConfigureWithoutCarrier=yes\n"
        "IPv6AcceptRA=no\nIPv6SendRA=yes\n"
        f"[IPv6SendRA]\nRouterLifetimeSec=0\n[IPv6Prefix]\nPrefix={GUEST_PREFIX}\n"
    ),
    "31-guest.network": "[Match]\nName=tap*\n[Network]\nBridge=guests\n",
}


def name(number: int) -> str:
    return f"{NAME}-{number}"


def address(host: str) -> str:
    """Where the other real hosts find it."""
    network, _, first = SERVICES_ADDRESS.rpartition(".")
    return f"{network}.{int(first) + int(host.removeprefix(f'{NAME}-'))}"


def peers(host: str) -> tuple[Peer, ...]:
    """All that there may be beside it."""
    names = map(name, range(1, MOST + 1))
    return tuple(Peer(each, address(each)) for each in names if each != host)


def files(
    host: str, private: str, public: str, keys: Mapping[str, str]
) -> dict[str, tuple[str, int]]:
    """{path: (text, rights)} of what is put on it; `keys` are {real host: its host key}."""
    own = f"[Match]\nName=lo\n[Network]\nAddress={address(host)}/32\n"
    names = "".join(f"{address(each)} {each}\n" for each in keys)
    known = "".join(f"{each},{address(each)} {key.strip()}\n" for each, key in keys.items())
    return {
        f"{NETWORKD}20-own.network": (own, OPEN),
        **{f"{NETWORKD}{file}": (text, OPEN) for file, text in GUESTS.items()},
        "/etc/hosts": (f"127.0.0.1 localhost\n{names}", OPEN),
        "/root/.ssh/id_ed25519": (private, OWN),
        "/root/.ssh/authorized_keys": (f"restrict {public}", OWN),
        "/root/.ssh/known_hosts": (known, OWN),
        "/root/.ssh/config": (SSH_CONFIG, OWN),
    }
