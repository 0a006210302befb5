"""What can happen to a GPU server on real libvirt, and what its user and operator are told."""

import pytest
from real_lab import GTX, GTX_AUDIO, HOST, RealLab

pytestmark = [pytest.mark.virthost, pytest.mark.long]


def test_a_group_that_is_not_viable(mended: RealLab) -> None:
    with mended.bound(GTX_AUDIO, "", "snd_hda_intel"):
        (reason,) = mended.why("g1.gpu")
    assert reason["host"] == HOST
    assert f"card {GTX}: its IOMMU group" in reason["message"]
    assert "not viable" in reason["message"]
