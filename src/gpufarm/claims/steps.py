"""What a repair consists of: values, each of which says what it expects to find."""

import msgspec

from gpufarm.model.claims import Migration, ServerState


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="do"):
    """Base of the steps below."""


class Release(Step, frozen=True, tag="release"):
    """Take what `consumer` holds of these providers: {uuid: {resource class: amount}}.

    With `everything` all else that it holds goes too: vCPUs and memory of a migration.
    """

    consumer: str
    held: dict[str, dict[str, int]]
    everything: bool = False


class GiveBack(Step, frozen=True, tag="give-back"):
    """Hand all that a migration holds back to its server, in the place of what that holds.

    `held` is the part of it that was seen.
    """

    migration: str
    server: str
    held: dict[str, dict[str, int]]


class FailServer(Step, frozen=True, tag="fail-server"):
    """Set a server to ERROR that nobody builds any more."""

    server: ServerState


class SettleServer(Step, frozen=True, tag="settle-server"):
    """Take a server out of a task that nobody carries out any more."""

    server: ServerState


class DeleteServer(Step, frozen=True, tag="delete-server"):
    """Delete a server that never ran."""

    server: ServerState


class EndMigration(Step, frozen=True, tag="end-migration"):
    """Set a migration's status in Nova's database; no API does."""

    migration: Migration


class RemoveProviders(Step, frozen=True, tag="remove-providers"):
    """Remove resource providers of which nothing is in use, in this order."""

    uuids: tuple[str, ...]


AnyStep = (
    Release | GiveBack | FailServer | SettleServer | DeleteServer | EndMigration | RemoveProviders
)
Steps = tuple[AnyStep, ...]


def needs_database(steps: Steps) -> bool:
    return any(isinstance(step, EndMigration) for step in steps)
