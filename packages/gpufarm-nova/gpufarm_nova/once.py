"""Errors of the plugin in the scheduler's log: with a traceback the first time, then in a line."""

from __future__ import annotations

from typing import Any


class Once:
    def __init__(self, log: Any) -> None:
        self._log = log
        self.seen: set[type] = set()

    def log(self, error: Exception, doing: str, *given: object) -> None:
        """To be called where `error` is handled; the same kind of error is the same error."""
        if type(error) in self.seen:
            self._log.debug(doing + ": %r", *given, error)
        else:
            self.seen.add(type(error))
            self._log.exception(doing, *given)
