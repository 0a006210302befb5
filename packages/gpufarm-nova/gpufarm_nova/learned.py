"""The file of what was learned, read anew whenever it changed.

What is decided here: when the scheduler goes by it. A file that is missing, broken or of another
version counts as none, as it would after a restart; that is written to the log once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from oslo_log import log as logging

from gpufarm_nova import lesson as lessons

if TYPE_CHECKING:
    from gpufarm_nova.lesson import Lesson

LOG = logging.getLogger(__name__)


class LessonFile:
    """The file at `path`; None is no file."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._lesson: Lesson | None = None
        self._problem = ""

    def lesson(self) -> Lesson | None:
        """What it holds now; the same object as long as it is the same file."""
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)  # noqa: PTH116 - the file may be any text of nova.conf
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._take(_text(Path(self._path), found.st_size))
                self._stamp = stamp
        except (OSError, ValueError) as error:
            self._stamp = None
            self._refuse(str(error))
        return self._lesson

    def _take(self, text: str) -> None:
        found = lessons.loads(text)
        if isinstance(found, lessons.Broken):
            self._refuse(found.problem)
            return
        self._lesson, self._problem = found, ""
        LOG.info(
            "GpuPackingWeigher goes by %s, made %s of %d kinds of requests",
            self._path,
            found.made,
            len(found.requests),
        )

    def _refuse(self, problem: str) -> None:
        self._lesson = None
        if problem != self._problem:
            self._problem = problem
            LOG.warning(
                "GpuPackingWeigher goes by the flavors alone, since %s cannot be used: %s",
                self._path,
                problem,
            )


def _text(path: Path, size: int) -> str:
    if size > lessons.MOST_BYTES:
        raise ValueError(f"with {size} bytes it is larger than any lesson")
    return path.read_text(encoding="utf-8")
