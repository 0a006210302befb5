"""Identities that stay the same over restarts and rebuilds of a lab."""

import uuid

NAMESPACE = uuid.UUID("7f1b2c0e-5a55-4d0b-9d0e-9b6b6a1d4c11")


def compute_id(host: str) -> str:
    """The id of the host's compute node: the same at every start, as Nova demands.

    Nova keeps it in `<state_path>/compute_id` and refuses to start on a host that it knows without
    it (nova/compute/manager.py, "this is not our first startup on this host").
    """
    return str(uuid.uuid5(NAMESPACE, host))
