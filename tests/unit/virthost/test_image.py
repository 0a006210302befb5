"""What virtual hosts are built from: keys, sources, the boot sector, whole or not there."""

import io
import os
import signal
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from gpufarm.lab.virthost import boot_sector, commands, debian, image, qemu, rootfs, tree
from gpufarm.lab.virthost.building import Building, key_of, only_builder
from gpufarm.lab.virthost.machine import Machine
from gpufarm.model.errors import CommandFailed, LabIncomplete, ProgramTimedOut
from gpufarm.system import processes

URIS = """\
'{0}/debian/dists/{1}/InRelease' x_InRelease 0
'{0}/debian/dists/{1}-updates/InRelease' x_InRelease 0
'{0}/debian/dists/{1}/main/binary-amd64/Packages.xz' x_Packages 0
"""


@pytest.mark.parametrize(
    ("uris", "found"),
    [
        (URIS.format("http://example.org", "bookworm"), "http://example.org/debian"),
        (URIS.format("http://example.org", "trixie"), "http://example.org/debian"),
        (URIS.format("http://example.org", "noble"), None),
        ("'http://example.org/security/dists/bookworm-security/InRelease' x 0\n", None),
        ("", None),
    ],
)
def test_the_mirror_is_that_of_the_apt_sources(uris: str, found: str | None) -> None:
    assert debian.find_mirror(uris) == found


def test_a_mirror_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://example.org/debian/")
    assert debian.mirror() == "http://example.org/debian"


def test_no_mirror_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(commands, "run", lambda *_, **__: "")
    with pytest.raises(LabIncomplete, match=f"{debian.MIRROR_VARIABLE}=URL"):
        debian.mirror()


def test_packages_are_verified_with_debians_keys() -> None:
    words = (
        *debian.fetch_qemu("http://example.org", Path("tar")),
        *debian.bootstrap("http://example.org", Path("root"), rootfs.PACKAGES, ()),
    )
    sources = [word for word in words if word.startswith("deb ")]
    assert len(sources) == 3
    assert all(f"[signed-by={debian.KEYRING}]" in source for source in sources)
    assert not any("trusted" in word.lower() or "unauthenticated" in word.lower() for word in words)


def test_the_key_knows_what_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    first = image.key("QEMU emulator version 11.1.3")
    assert first == image.key("QEMU emulator version 11.1.3")
    keys = {first, image.key("QEMU emulator version 11.1.4")}
    changes: list[tuple[object, str, object]] = [
        (image, "RECIPE", image.RECIPE + 1),
        (image, "MACHINE", Machine(name="virtual-host", memory_mb=2048)),
        (image, "SETTLE", image.SETTLE + "true\n"),
        (rootfs, "PACKAGES", (*rootfs.PACKAGES, "hello")),
        (rootfs, "GUEST_INIT", "#!/bin/true"),
        (rootfs, "LINKS", {}),
        (rootfs, "INSIDE", (*rootfs.INSIDE, "true")),
        (debian, "HOST_SUITE", "trixie"),
        (qemu, "WINDOW_64", "64G"),
    ]
    for where, name, value in changes:
        with monkeypatch.context() as patched:
            patched.setattr(where, name, value)
            keys.add(image.key("QEMU emulator version 11.1.3"))
    assert len(keys) == len(changes) + 2


def test_the_key_does_not_know_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.key("11")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://example.org")
    monkeypatch.setenv("HOME", "/nowhere")
    assert image.key("11") == before


def test_qemu_runs_from_its_folder() -> None:
    found = tree.Tree(Path("/cache/qemu"), "11")
    words = found.command()
    assert words[0].startswith("/cache/qemu/")
    assert words[-4:] == ("-L", "/cache/qemu/usr/share/qemu", "-L", "/cache/qemu/usr/share/seabios")
    assert found.command("qemu-img")[-1] == "/cache/qemu/usr/bin/qemu-img"
    assert found.environment["QEMU_MODULE_DIR"].startswith("/cache/qemu/")


def test_the_boot_sector() -> None:
    core = bytes(range(256)) * 100
    made = boot_sector.first_megabyte(b"\x90" * 512, core, 4 << 30)
    assert len(made) == boot_sector.FIRST_PARTITION
    assert made[510:512] == b"\x55\xaa"
    assert made[:440] == b"\x90" * 440
    active, kind, start, count = made[446], made[450], *struct.unpack_from("<II", made, 454)
    assert (active, kind, start, count) == (0x80, 0x83, 2048, (4 << 30) // 512 - 2048)
    where, sectors, segment = struct.unpack_from("<QHH", made, 512 + 0x1F4)
    assert (where, sectors, segment) == (2, len(core) // 512 - 1, 0x820)
    assert made[1024 : 512 + len(core)] == core[512:]


def test_a_core_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="there is room for"):
        boot_sector.first_megabyte(b"", bytes(1 << 20), 4 << 30)


def test_files_belong_to_root_and_the_key_to_root_only(tmp_path: Path) -> None:
    rootfs.write_tar(tmp_path / "x.tar", rootfs.files("SECRET"), rootfs.LINKS)
    with tarfile.open(tmp_path / "x.tar") as archive:
        members = {member.name: member for member in archive}
        assert all((m.uid, m.gid) == (0, 0) for m in members.values())
        assert not any(name.startswith("/") for name in members)
        key = members["etc/ssh/ssh_host_ed25519_key"]
        assert key.mode == 0o600
        content = archive.extractfile(key)
        assert isinstance(content, io.BufferedIOBase)
        assert content.read() == b"SECRET"
        readable = [m for m in members.values() if m.isreg() and m is not key]
        for member in readable:
            stream = archive.extractfile(member)
            assert stream is not None
            assert b"SECRET" not in stream.read()
        assert members["etc/systemd/system/fstrim.timer"].linkname == "/dev/null"


def test_the_first_boot_has_the_command_line_that_grub_will_give() -> None:
    text = rootfs.FILES["etc/default/grub"]
    words = "console=ttyS0,115200 net.ifnames=0 no_timer_check panic=5 mitigations=off"
    assert f'GRUB_CMDLINE_LINUX="{words}"' in text
    assert 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"' in text
    assert f"root=UUID={rootfs.UUID} ro {words} quiet" == rootfs.KERNEL_ARGUMENTS


def test_hooks_quote_their_paths() -> None:
    early, *_ = rootfs.hooks(Path("/a b;c/'x'.tar"), Path("/late.tar"))
    assert early == """--essential-hook=tar-in '/a b;c/'"'"'x'"'"'.tar' /"""


def test_a_build_is_whole_or_not_there(tmp_path: Path) -> None:
    told: list[str] = []
    with Building(tmp_path, tmp_path / "done", told.append) as building:
        with building.stage("packing", 3):
            building.path("x").write_text("x")
        assert not (tmp_path / "done").exists()
    assert (tmp_path / "done" / "x").read_text() == "x"
    assert told == ["packing (about 3 s)", "packing: 0 s"]
    with pytest.raises(OSError, match="full"), Building(tmp_path, tmp_path / "bad", told.append):
        raise OSError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_a_killed_builders_leftovers_are_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from gpufarm.lab.virthost.building import Building, only_builder\n"
        "cache = Path(sys.argv[1])\n"
        "with only_builder(cache, print), Building(cache, cache / 'done', print) as building:\n"
        "    building.path('half').write_text('half'); print('building', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "building\n"
        killed.kill()
    assert list(tmp_path.glob("building-*/half"))
    assert not (tmp_path / "done").exists()
    with only_builder(tmp_path, print):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_two_builders_take_turns(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from gpufarm.lab.virthost.building import only_builder\n"
        "with only_builder(Path(sys.argv[1]), lambda text: print(text, flush=True)):\n"
        "    print('mine', flush=True)\n"
    )
    with only_builder(tmp_path, print):
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        assert "another command" in other.stdout.readline()
    assert other.stdout.readline() == "mine\n"
    assert other.wait(30) == 0
    other.stdout.close()


def test_keys_are_short_and_of_everything() -> None:
    assert key_of(1, ("a", "b")) != key_of(1, ("a", "c"))
    assert len(key_of(1)) == 16


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "SYSTEM_PATH", "/nowhere")
    with pytest.raises(LabIncomplete, match="sudo apt-get install e2fsprogs mmdebstrap"):
        commands.need("mmdebstrap", "mke2fs")


def test_a_command_that_fails_or_hangs() -> None:
    with pytest.raises(CommandFailed, match="ended with status 3") as caught:
        commands.run(["sh", "-c", "echo one; printf 'two\\033[2J\\n' >&2; exit 3"], limit=30)
    assert caught.value.lines == ("two[2J",)
    with pytest.raises(ProgramTimedOut):
        commands.run(["sleep", "60"], limit=0.2)


def test_a_command_ends_with_its_caller(tmp_path: Path) -> None:
    script = (
        "import sys; from gpufarm.lab.virthost import commands\n"
        "commands.run(['sh', '-c', 'echo $$ > ' + sys.argv[1] + '; exec sleep 60'], limit=60)\n"
    )
    path = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", script, str(path)]) as caller:
        deadline = time.monotonic() + 30
        while not (path.exists() and path.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(caller.pid, signal.SIGKILL)
    pid = int(path.read_text())
    while processes.identify(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
