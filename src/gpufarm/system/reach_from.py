"""Whether something answers on a network that another machine reaches: `system.reach`, run there.

That module needs nothing but Python, and so has one home; the machine needs `python3`.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from gpufarm.model.errors import ProgramError
from gpufarm.model.printable import printable
from gpufarm.system import reach, ssh

SECONDS = 60.0
YES, NO = 0, 3
"""Not 1, with which Python ends where it does not run at all."""
CALL = f"""
import sys
look = {{"ssh": ssh, "web": web}}[sys.argv[1]]
sys.exit({YES} if look(sys.argv[2]) else {NO})
"""


class From(NamedTuple):
    """That machine, as ssh reaches it. Both raise HostUnreachable, ProgramError."""

    destination: str
    config: Path | None = None

    def ssh(self, address: str) -> bool:
        return self._look("ssh", address)

    def web(self, url: str) -> bool:
        return self._look("web", url)

    def _look(self, what: str, where: str) -> bool:
        source = Path(reach.__file__).read_text() + CALL
        command = f"python3 - {what} {shlex.quote(where)}"
        done = ssh.run_there(
            self.destination, command, stdin=source.encode(), timeout=SECONDS, config=self.config
        )
        if done.status not in {YES, NO}:
            said = printable(done.stderr.strip()[-200:])
            problem = f"exit status {done.status} on {self.destination}: {said}"
            raise ProgramError("python3", problem)
        return done.status == YES
