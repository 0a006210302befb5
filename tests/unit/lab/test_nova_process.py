"""What Nova is given before it reads any file."""

import subprocess
import sys

from gpufarm.lab import config

INTERVAL = """
from gpufarm.lab.inside import nova
nova.preload()
from nova.compute.manager import ComputeManager
print(ComputeManager.update_available_resource._periodic_spacing)
"""


def test_a_nova_compute_reports_as_often_as_the_lab_says() -> None:
    """In a process of its own: Nova's modules read the interval when they are imported."""
    done = subprocess.run(
        [sys.executable, "-c", INTERVAL], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == str(config.REPORT_SECONDS)
