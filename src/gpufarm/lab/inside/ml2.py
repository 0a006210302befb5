"""An ML2 mechanism driver that binds any port on any host, since no agent runs in the lab.

To a TAP device, which nova-compute makes by itself (nova/virt/libvirt/vif.py, plug_tap); what a
real host does with it says `lab.real.network`. A simulated one makes none.
"""

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class BindAnywhere(api.MechanismDriver):
    def initialize(self) -> None:
        """Nothing to prepare."""

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: api.PortContext) -> None:
        segment = context.segments_to_bind[0]
        context.set_binding(
            segment[api.ID],
            portbindings.VIF_TYPE_TAP,
            {portbindings.CAP_PORT_FILTER: False},
            status=constants.PORT_STATUS_ACTIVE,
        )
