"""Ports: chosen, kept where free, and named where taken."""

import pytest

from gpufarm.lab import ports
from gpufarm.model.errors import PortTaken


def test_a_port_is_kept_where_it_is_free() -> None:
    first = ports.open_all(["a", "b"], {})
    numbers = {name: ports.number(found) for name, found in first.items()}
    for found in first.values():
        found.close()
    again = ports.open_all(["a", "b"], numbers)
    assert {name: ports.number(found) for name, found in again.items()} == numbers
    for found in again.values():
        found.close()


def test_a_taken_port_is_replaced_or_named() -> None:
    with ports.listen("other", 0) as other:
        taken = ports.number(other)
        with ports.open_all(["glance"], {"glance": taken})["glance"] as chosen:
            assert ports.number(chosen) not in {0, taken}
        with pytest.raises(PortTaken, match=f"glance: port {taken} ") as caught:
            ports.listen("glance", taken)
        assert (caught.value.service, caught.value.port) == ("glance", taken)


def test_only_this_machine_reaches_it() -> None:
    with ports.listen("a", 0) as found:
        assert found.getsockname()[0] == "127.0.0.1"
        assert ports.answers(ports.number(found))
        number = ports.number(found)
    assert not ports.answers(number)
