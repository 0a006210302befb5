"""A host that is looked at and changed: this one, or one behind SSH."""

from pathlib import Path
from typing import Protocol

from gpufarm.host import facts
from gpufarm.model.facts import HostFacts
from gpufarm.system import agent, ssh
from gpufarm.system.agent import Answer, Book, Runner, Verb
from gpufarm.system.capture import Captured
from gpufarm.system.machine import Machine


class Target(Protocol):
    """`name` is what messages call it. Both methods raise HostError."""

    @property
    def name(self) -> str: ...

    def facts(self) -> HostFacts: ...

    def ask(self, verb: Verb, orders: bytes = b"") -> Answer: ...


class Here:
    """This machine. `book` is the journal of what is done to it."""

    name = "localhost"

    def __init__(self, book: Book = "prepare") -> None:
        self._book: Book = book

    def facts(self) -> HostFacts:
        return facts.read(Machine())

    def ask(self, verb: Verb, orders: bytes = b"") -> Answer:
        return agent.ask(agent.here(book=self._book), self.name, verb, orders)


class There:
    """A machine behind SSH. `runner` is another way to its agent, for tests."""

    def __init__(
        self,
        destination: str,
        config: Path | None = None,
        *,
        name: str | None = None,
        runner: Runner | None = None,
        book: Book = "prepare",
    ) -> None:
        self.name = name or destination
        self._destination = destination
        self._config = config
        self._runner = runner or agent.there(destination, config, book=book)

    def facts(self) -> HostFacts:
        return facts.read(Captured(ssh.read(self._destination, self._config), self.name))

    def ask(self, verb: Verb, orders: bytes = b"") -> Answer:
        return agent.ask(self._runner, self.name, verb, orders)
