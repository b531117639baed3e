"""What a confined process reaches: its ways, and nothing else of the machine or the network, whatever it starts."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tenure.base.box import bubblewrap, confined, syscalls, ways
from tenure.base.box.confined import Confinement, Files
from tenure.kernel.errors import Refused

BOXED = pytest.mark.skipif(bool(confined.trouble()), reason=confined.trouble() or "it works")

PROBE = r"""
import asyncio, ctypes, errno, fcntl, json, os, socket, struct, subprocess, sys
given = json.loads(sys.argv[1])

def tried(what):
    try:
        return what()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def reach(family, kind, address):
    with socket.socket(family, kind) as peer:
        peer.settimeout(3)
        peer.connect(address)
        return "reached"

def ip(family, address, kind=socket.SOCK_STREAM):
    return tried(lambda: reach(family, kind, address))

def sent(kind, address):
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    one.sendto(b"out", address)
    return "reached"

def asked():
    with socket.create_connection(("127.0.0.1", 7710), 3) as way:
        way.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return b"".join(iter(lambda: way.recv(4096), b"")).decode().rpartition("\n")[2]

def resolved():
    try:
        return socket.getaddrinfo("example.com", 443)
    except socket.gaierror:
        return "no name server"

def ring():
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.syscall(425, 1, ctypes.create_string_buffer(256)) >= 0
    return "made" if made else errno.errorcode[ctypes.get_errno()]

async def loops():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, _ = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.read()
    return "works"

told = {}
if "--outside" not in sys.argv:
    told |= {
        "way": tried(asked),
        "this machine's address": ip(socket.AF_INET, (given["own"], given["port"])),
        "elsewhere": ip(socket.AF_INET, ("192.0.2.1", 80)),
        "elsewhere over IPv6": ip(socket.AF_INET6, ("2001:db8::1", 80)),
        "a datagram": ip(socket.AF_INET, ("192.0.2.1", 53), socket.SOCK_DGRAM),
        "names": resolved(),
        "the machine that hosts this one": tried(lambda: reach(40, socket.SOCK_STREAM, (2, 22))),
    }
told |= {
    "another port": ip(socket.AF_INET, ("127.0.0.1", given["port"])),
    "the port over IPv6": ip(socket.AF_INET6, ("::1", given["port6"])),
    "abstract socket": tried(lambda: reach(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + given["abstract"])),
    "socket in a folder it sees": tried(lambda: reach(socket.AF_UNIX, socket.SOCK_STREAM, given["named"])),
    "by a pair of datagrams": tried(lambda: sent(socket.SOCK_DGRAM, given["datagrams"])),
    "io_uring": ring(),
    "typing": tried(lambda: fcntl.ioctl(0, 0x5412, b"x")),
    "below /run": os.listdir("/run"),
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) > 20),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "asyncio": asyncio.run(loops()),
}
if len(sys.argv) == 2:
    again = subprocess.run([sys.executable, "-c", given["probe"], sys.argv[1], "--child"], stdin=0, capture_output=True)
    told["child"] = json.loads(again.stdout or json.dumps(again.stderr.decode()))
print(json.dumps(told))
"""

NOTHING = {
    "another port": "ECONNREFUSED",
    "the port over IPv6": "ECONNREFUSED",
    "elsewhere": "ENETUNREACH",
    "elsewhere over IPv6": "ENETUNREACH",
    "a datagram": "ENETUNREACH",
    "names": "no name server",
    "abstract socket": "EACCES",
    "socket in a folder it sees": "EACCES",
    "by a pair of datagrams": "EACCES",
    "the machine that hosts this one": "EACCES",
    "io_uring": "ENOSYS",
    "typing": "EACCES",
    "below /run": [],
    "processes": [],
    "interfaces": ["lo"],
}


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside")

    def log_message(self, *_said: object) -> None:
        """Nothing."""


@pytest.fixture
def hello() -> Iterator[str]:
    """A web server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _own_address() -> str:
    """An address of this machine that is no loopback's, if it has one."""
    found = [item.address for each in psutil.net_if_addrs().values() for item in each if item.family == socket.AF_INET]
    return next((address for address in found if not address.startswith("127.")), "192.0.2.7")


def _run(words: list[str], way: str = "http://127.0.0.1:9", files: Files | None = None) -> subprocess.Popen[str]:
    """A confined program, started."""
    box = Confinement(words, [7710], files or Files())
    child = subprocess.Popen(
        box.command, pass_fds=box.fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for listener in box.started():
        ways.carry(listener, way)
    return child


@BOXED
@pytest.mark.req("R042")
def test_a_confined_process_reaches_its_way_and_nothing_else(hello: str, tmp_path: Path) -> None:
    named, datagrams, abstract = tmp_path / "named", tmp_path / "datagrams", f"tenure-{os.getpid()}"
    with (
        socket.socket() as four,
        socket.socket(socket.AF_INET6) as six,
        socket.socket(socket.AF_UNIX) as by_name,
        socket.socket(socket.AF_UNIX) as without,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log,
    ):
        four.bind(("0.0.0.0", 0))  # noqa: S104 (so that it listens at this machine's address too)
        six.bind(("::1", 0))
        by_name.bind(str(named))
        without.bind(f"\0{abstract}")
        log.bind(str(datagrams))
        for each in (four, six, by_name, without):
            each.listen()
        given: dict[str, Any] = {
            "port": four.getsockname()[1],
            "port6": six.getsockname()[1],
            "own": _own_address(),
            "abstract": abstract,
            "named": str(named),
            "datagrams": str(datagrams),
            "probe": PROBE,
        }
        inside = _run([sys.executable, "-c", PROBE, json.dumps(given)], hello, Files(write=(tmp_path,)))
        said, wrong = inside.communicate(timeout=60)
        assert inside.returncode == 0, wrong
        told = json.loads(said)
        outside = subprocess.run(
            [sys.executable, "-c", PROBE, json.dumps(given), "--outside"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    assert told["way"] == "hello from outside"
    assert told["asyncio"] == "works"
    assert told["this machine's address"] in {"ECONNREFUSED", "ENETUNREACH"}
    assert {name: told[name] for name in NOTHING} == NOTHING
    child = told.pop("child")
    assert child == told, "what it starts reaches no more"
    free = json.loads(outside.stdout)
    for name in ("another port", "the port over IPv6", "abstract socket", "by a pair of datagrams"):
        assert free[name] == "reached", "the question is the right one"
    assert free["socket in a folder it sees"] == "reached"


@BOXED
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="this machine has no second table of system calls")
def test_the_other_numbers_of_system_calls_are_no_way_round() -> None:
    code = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 41, 1, 1, 0); print('made a socket')"
    child = _run([sys.executable, "-c", code])
    assert child.communicate(timeout=30)[0] == ""
    assert child.returncode == 128 + 31  # SIGSYS


@BOXED
def test_it_writes_only_where_it_may_and_does_not_see_what_is_hidden(tmp_path: Path) -> None:
    mine, hidden, other = tmp_path / "mine", tmp_path / "mine" / "data", tmp_path / "other"
    for folder in (hidden, other):
        folder.mkdir(parents=True)
    (hidden / "operator.token").write_text("the person's own")
    code = f"""
import os
from pathlib import Path
for path in ({str(mine / "a")!r}, "/tmp/b", {str(other / "c")!r}, {str(hidden / "d")!r}, {__file__!r} + "x"):
    try:
        Path(path).write_text("written")
        print("yes")
    except OSError:
        print("no")
print(os.listdir({str(hidden)!r}))
"""
    child = _run([sys.executable, "-c", code], files=Files(write=(mine,), hidden=(hidden,)))
    assert child.communicate(timeout=30)[0].split() == ["yes", "yes", "no", "no", "no", "[]"]
    assert (mine / "a").read_text() == "written"
    assert not Path("/tmp/b").exists()
    with pytest.raises(Refused, match="does not exist"):
        Confinement(["true"], [7710], Files(write=(tmp_path / "nowhere",)))
    with pytest.raises(Refused, match="Tenure's own"):
        Confinement(["true"], [7710], Files(write=(hidden,), hidden=(hidden,)))


@BOXED
def test_a_command_that_is_not_there_is_told_as_a_shell_would() -> None:
    child = _run(["/nowhere/at/all"])
    assert "could not be started" in child.communicate(timeout=30)[1]
    assert child.returncode == 127


def test_where_it_does_not_work_it_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(__file__).parent))
    for tried in (bubblewrap.trouble, confined.trouble):
        tried.cache_clear()
    try:
        assert "not installed" in confined.trouble()
        with pytest.raises(Refused) as refusal:
            Confinement(["true"], [7710], Files())
        assert refusal.value.code == "confinement_impossible"
        assert "bubblewrap (bwrap) is not installed" in refusal.value.message
    finally:
        monkeypatch.undo()
        for tried in (bubblewrap.trouble, confined.trouble):
            tried.cache_clear()


def test_no_filter_for_an_unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(Refused, match="no filter of system calls for vax"):
        Confinement(["true"], [7710], Files())


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_decides_as_it_says(machine: str) -> None:
    """Runs the program on the machine that ``seccomp(2)`` describes."""
    numbers = {"x86_64": (0xC000003E, 41, 53, 16), "aarch64": (0xC00000B7, 198, 199, 29)}
    arch, make, pair, ioctl = numbers[machine]
    allow, deny = 0x7FFF0000, 0x00050000 | errno.EACCES
    kill, missing = 0x80000000, 0x00050000 | errno.ENOSYS
    cloexec, stream, datagram = 0o2000000, 1, 2
    for call, expected in (
        ((arch, make, 2, stream | cloexec), allow),
        ((arch, make, 10, stream), allow),
        ((arch, make, 16, 3), allow),
        ((arch, make, 1, stream), deny),
        ((arch, make, 40, stream), deny),
        ((arch, make, 17, 3), deny),
        ((arch, pair, 1, stream | cloexec), allow),
        ((arch, pair, 1, datagram | cloexec), deny),
        ((arch, pair, 2, stream), deny),
        ((arch, ioctl, 0, 0x5401), allow),
        ((arch, ioctl, 0, 0x5412), deny),
        ((arch, ioctl, 0, 0x541C), deny),
        ((arch, 0, 1, 1), allow),
        ((arch, 425, 8, 0), missing),
        ((arch, 0x40000000 + make, 2, stream), kill),
        ((0x40000003, 102, 1, 0), kill),
    ):
        assert _decided(syscalls.program(machine), *call) == expected, call


def _decided(program: bytes, arch: int, number: int, *arguments: int) -> int:
    data = number.to_bytes(4, "little") + arch.to_bytes(4, "little") + bytes(8)
    data += b"".join((value + (7 << 32)).to_bytes(8, "little") for value in arguments)
    at, loaded = 0, 0
    while True:
        code, then, otherwise, value = _instruction(program, at)
        at += 1
        if code == 0x20:
            loaded = int.from_bytes(data[value : value + 4], "little")
        elif code == 0x54:
            loaded &= value
        elif code == 0x06:
            return value
        else:
            at += then if (loaded == value if code == 0x15 else loaded >= value) else otherwise


def _instruction(program: bytes, index: int) -> tuple[int, int, int, int]:
    part = program[8 * index : 8 * index + 8]
    return int.from_bytes(part[:2], "little"), part[2], part[3], int.from_bytes(part[4:], "little")
