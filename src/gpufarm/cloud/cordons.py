"""The records of cordons: who closed which card, when and why.

What is decided here: where the records are. They are the metadata of one host aggregate without
hosts, a key for each card: kept by Nova's own API, changed key by key, so that two administrators
do not overwrite each other, and looked at by no filter, since it holds no host.
"""

from typing import TYPE_CHECKING

from gpufarm.cloud.catalog import aggregates
from gpufarm.cloud.connect import faults
from gpufarm.cloud.rest import call
from gpufarm.model.errors import CloudConflict, CloudError

if TYPE_CHECKING:
    from openstack.connection import Connection

AGGREGATE = "gpufarm-cordons"


def records(connection: "Connection") -> dict[str, str]:
    """{name of a card's resource provider: record}. Raises CloudError."""
    found = (each for each in aggregates(connection) if each.name == AGGREGATE)
    return next((each.properties for each in found), {})


def put_record(connection: "Connection", provider: str, record: str | None) -> None:
    """Write the record of that card; None removes it. Raises CloudError."""
    number = _aggregate(connection, make=record is not None)
    if number is not None:
        body = {"set_metadata": {"metadata": {provider: record}}}
        path = f"/os-aggregates/{number}/action"
        call(connection.compute, f"writing the cordon of {provider}", "POST", path, json=body)


def user_name(connection: "Connection") -> str:
    """Who is connected, by name."""
    with faults("asking who is connected"):
        session = connection.session
        return str(session.auth.get_access(session).username or connection.current_user_id)


def _aggregate(connection: "Connection", *, make: bool) -> int | None:
    """The id of the aggregate; None where there is none and it is not to be made."""
    for found in aggregates(connection):
        if found.name == AGGREGATE:
            return found.id
    if not make:
        return None
    body = {"aggregate": {"name": AGGREGATE}}
    doing = f"creating aggregate {AGGREGATE}"
    try:
        return int(
            call(connection.compute, doing, "POST", "/os-aggregates", json=body)["aggregate"]["id"]
        )
    except CloudConflict:  # another administrator was faster
        found_now = [each.id for each in aggregates(connection) if each.name == AGGREGATE]
        if not found_now:
            raise CloudError(f"{doing}: it is said to be there and is not listed") from None
        return found_now[0]
