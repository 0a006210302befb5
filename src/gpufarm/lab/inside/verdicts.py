"""What each filter of the scheduler says of each host, for tests that compare with it.

Nova logs which filter left how many hosts, and which hosts only when none is left. Here it is one
JSON line for each time that a filter looks at a host, as long as the file is there.
"""

import functools
import json
from pathlib import Path
from typing import Any

from gpufarm.lab.state import VERDICTS


def record(state: Path) -> None:
    """From now on, in this process."""
    from nova.scheduler.filters import BaseHostFilter

    path, inner = state / VERDICTS, BaseHostFilter._filter_one

    @functools.wraps(inner)
    def filter_one(self: Any, host: Any, spec: Any) -> bool:
        passed = bool(inner(self, host, spec))
        if path.exists():
            said = [spec.instance_uuid, type(self).__name__, host.host, passed]
            with path.open("a") as stream:
                stream.write(json.dumps(said) + "\n")
        return passed

    BaseHostFilter._filter_one = filter_one
