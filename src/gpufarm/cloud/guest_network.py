"""The network of the guests on the lab's real hosts.

It has one IPv6 subnet, whose addresses guests make themselves of its prefix and their MAC, which
Neutron knows beforehand (SLAAC); the hosts announce the prefix.
"""

from typing import TYPE_CHECKING

from gpufarm.cloud.connect import faults

if TYPE_CHECKING:
    from openstack.connection import Connection

NAME = "guests"


def ensure(connection: "Connection", prefix: str) -> bool:
    """Have it for every project; whether it was missing. Raises CloudError."""
    with faults("registering the guests' network"):
        network = connection.network.find_network(NAME)
        network = network or connection.network.create_network(name=NAME, is_shared=True)
        if connection.network.find_subnet(NAME, network_id=network.id):
            return False
        connection.network.create_subnet(
            name=NAME,
            network_id=network.id,
            ip_version=6,
            cidr=prefix,
            ipv6_address_mode="slaac",
            gateway_ip=None,
        )
        return True
