"""The page of the scheduler plugin's options is the options'."""

from pathlib import Path

import scheduler_options

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "scheduler-options.md"


def test_the_page_is_current(regenerate: bool) -> None:
    if regenerate:
        PAGE.write_text(scheduler_options.page())
    assert PAGE.read_text() == scheduler_options.page()
