"""Emulated functions: their configuration space, their registers, the protocol, the socket."""

import errno
import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufarm.lab.virthost.cards import parse
from gpufarm.lab.virthost.pci import Function
from gpufarm.lab.virthost.vfu import config, server
from gpufarm.lab.virthost.vfu.device import CONFIG_REGION, MOST_PAGES, PAGE, Device
from gpufarm.lab.virthost.vfu.messages import (
    ACCESS,
    HEADER,
    NO_REPLY,
    Command,
    Request,
    answer,
)

GTX, AUDIO = parse("gtx1080").functions
(H100,) = parse("h100").functions
CONTROL = config.DEVICE_CONTROL


def device(function: Function = H100) -> tuple[Device, list[str]]:
    log: list[str] = []
    return Device(function, log.append), log


def asked(found: Device, command: int, payload: bytes = b"", flags: int = 0) -> tuple[int, bytes]:
    """(errno, payload) of the answer."""
    reply = answer(found, Request(7, command, flags, payload))
    assert reply is not None
    number, said, size, flags, error = HEADER.unpack_from(reply)
    assert (number, said, size) == (7, command, len(reply))
    assert bool(flags & 0x20) == bool(error)
    return error, reply[HEADER.size :]


def read_config(found: Device, offset: int, form: str) -> int:
    data = found.read(CONFIG_REGION, offset, struct.calcsize(form))
    return int(struct.unpack(form, data)[0])


def test_ids_are_where_a_host_reads_them() -> None:
    found, _ = device(GTX)
    assert read_config(found, 0, "<I") == 0x1B8010DE
    assert read_config(found, 8, "<I") == 0x030000A1
    assert read_config(found, 0x2C, "<I") == 0x119E10DE


def capabilities(found: Device) -> dict[int, int]:
    """{capability: offset}, walked as a host walks it."""
    offset, met = read_config(found, 0x34, "<B"), {}
    while offset:
        met[read_config(found, offset, "<B")] = offset
        offset = read_config(found, offset + 1, "<B")
    return met


def test_capabilities() -> None:
    found, _ = device(H100)
    assert set(capabilities(found)) == {0x01, 0x05, 0x10}
    express = capabilities(found)[0x10]
    assert read_config(found, express + 4, "<I") & config.FLR_CAPABLE
    plain, _ = device(GTX)
    assert not read_config(plain, express + 4, "<I") & config.FLR_CAPABLE


def test_a_link_may_run_below_its_width() -> None:
    found, _ = device(parse("h100,link=4").functions[0])
    express = capabilities(found)[0x10]
    assert read_config(found, express + 0x0C, "<I") >> 4 & 0x3F == 16
    assert read_config(found, express + 0x12, "<H") >> 4 & 0x3F == 4


@pytest.mark.parametrize("function", [GTX, AUDIO, H100, *parse("rx6900xt").functions])
def test_the_size_of_a_bar_is_read_as_hosts_do(function: Function) -> None:
    found, _ = device(function)
    for index, bar in config.bar_indices(function).items():
        offset = config.BAR0 + 4 * index
        found.write(CONFIG_REGION, offset, b"\xff" * (8 if bar.wide else 4))
        low = read_config(found, offset, "<I")
        assert bool(low & 4) == bar.wide
        high = read_config(found, offset + 4, "<I") if bar.wide else 0xFFFFFFFF
        mask = (high << 32 | low & ~0xF) & 0xFFFFFFFFFFFFFFFF
        assert (~mask & 0xFFFFFFFFFFFFFFFF) + 1 == bar.size
        assert found.region_size(index) == bar.size


@given(st.integers(0, config.SIZE - 1), st.binary(min_size=1, max_size=8))
def test_only_what_can_be_written_changes(offset: int, data: bytes) -> None:
    found, _ = device(GTX)
    before = bytes(found.config)
    found.write(CONFIG_REGION, offset, data)
    assert len(found.config) == config.SIZE
    for position, (old, new) in enumerate(zip(before, found.config, strict=True)):
        assert (old ^ new) & ~found.space.writable[position] == 0


def test_flr_resets_where_it_is_known() -> None:
    found, log = device(H100)
    found.write(2, 64, b"\x01")
    found.write(CONFIG_REGION, 4, b"\x06\x00")
    found.write(CONFIG_REGION, CONTROL, struct.pack("<H", config.INITIATE_FLR))
    assert log == ["FLR 1"]
    assert found.read(2, 64, 1) == b"\0"
    assert read_config(found, 4, "<H") == 0
    assert read_config(found, CONTROL, "<H") == 0
    plain, log = device(GTX)
    plain.write(CONFIG_REGION, CONTROL, struct.pack("<H", config.INITIATE_FLR))
    assert log == []


def test_registers_remember() -> None:
    found, _ = device(H100)
    found.write(2, PAGE - 2, b"abcd")
    assert found.read(2, PAGE - 2, 2) == b"ab"
    assert found.read(2, 10**9, 8) == bytes(8)


def test_what_a_driver_writes_does_not_fill_memory() -> None:
    found, _ = device(H100)
    for page in range(MOST_PAGES + 100):
        found.write(2, page * PAGE, b"\xff")
    assert len(found.memory) <= MOST_PAGES


def test_an_audio_function_has_no_codecs() -> None:
    found, _ = device(AUDIO)
    assert found.read(0, 0, 4) == bytes.fromhex("01440001")
    found.write(0, 0x0E, b"\xff\xff")
    assert found.read(0, 0x0E, 2) == b"\0\0"
    found.reset()
    assert found.read(0, 0, 2) == b"\x01\x44"


def test_the_protocol() -> None:
    found, log = device(H100)
    error, said = asked(found, Command.VERSION, struct.pack("<HH", 0, 1) + b"{}\0")
    assert (error, said[:4]) == (0, struct.pack("<HH", 0, 1))
    assert said.endswith(b"}\0")
    assert asked(found, Command.DEVICE_GET_INFO, bytes(16))[1] == struct.pack("<IIII", 16, 3, 9, 5)
    _, said = asked(
        found, Command.DEVICE_GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 2, 0, 0, 0)
    )
    assert struct.unpack("<IIIIQQ", said)[4] == 16 << 30
    _, said = asked(
        found, Command.DEVICE_GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, 1, 0, 0, 0)
    )
    assert struct.unpack("<IIIIQQ", said)[1:5] == (0, 1, 0, 0)
    for kind, count in ((0, 1), (1, 1), (2, 0)):
        _, said = asked(found, Command.DEVICE_GET_IRQ_INFO, struct.pack("<IIII", 16, 0, kind, 0))
        assert struct.unpack("<IIII", said)[3] == count
    write = ACCESS.pack(8, 2, 4) + b"\x01\x02\x03\x04"
    assert asked(found, Command.REGION_WRITE, write) == (0, write[: ACCESS.size])
    assert asked(found, Command.REGION_READ, ACCESS.pack(8, 2, 4)) == (0, write)
    many = struct.pack("<Q", 2) + 2 * (ACCESS.pack(0, 4, 2) + b"hi" + bytes(6))
    assert asked(found, Command.REGION_WRITE_MULTI, many) == (0, many[:8])
    assert found.read(4, 0, 4) == b"hi\0\0"
    for command in (Command.DMA_MAP, Command.DEVICE_SET_IRQS):
        assert asked(found, command, bytes(32)) == (0, b"")
    assert asked(found, Command.DMA_UNMAP, b"x" * 24) == (0, b"x" * 24)
    assert asked(found, Command.DEVICE_RESET) == (0, b"")
    assert log == ["RESET 1"]
    assert answer(found, Request(1, Command.DEVICE_RESET, NO_REPLY, b"")) is None


def test_what_is_not_understood_is_refused() -> None:
    found, _ = device()
    assert asked(found, 99) == (errno.EOPNOTSUPP, b"")
    assert asked(found, Command.REGION_READ, b"short") == (errno.EINVAL, b"")
    assert asked(found, Command.REGION_READ, ACCESS.pack(0, 0, 1 << 30)) == (errno.EINVAL, b"")


@given(st.integers(0, 20), st.binary(max_size=64))
def test_no_message_breaks_it(command: int, payload: bytes) -> None:
    found, _ = device()
    answer(found, Request(1, command, 0, payload))


def message(command: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(1, command, HEADER.size + len(payload), 0, 0) + payload


def test_a_socket_serves_one_host_after_another(tmp_path: Path) -> None:
    log: list[str] = []
    server.serve(tmp_path / "own1.0", H100, log.append)
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "own1.0"))
            client.sendall(message(Command.REGION_WRITE, ACCESS.pack(0, 0, 1) + b"\x07"))
            assert client.recv(4096)
            client.sendall(message(Command.REGION_READ, ACCESS.pack(0, 0, 1)))
            assert client.recv(4096).endswith(b"\x07")


def test_a_host_that_breaks_off() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    found, _ = device()
    failed: list[OSError] = []

    def serve() -> None:
        try:
            server.converse(here, found)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    there.sendall(message(Command.DEVICE_RESET)[:5])
    there.close()
    thread.join(10)
    assert [type(error) for error in failed] == [ConnectionAbortedError]
    here.close()
