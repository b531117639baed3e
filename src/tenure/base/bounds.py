"""Where a credential may go: hosts that it may be sent to, and programs that it may be handed to. Pure.

A manifest says which credential goes to which address. Whoever writes manifests must not thereby be able to send any
credential anywhere, so every credential has bounds that are set by somebody else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tenure.kernel.errors import Refused

_HOST = re.compile(r"(http://)?(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:([0-9]{1,5}|\*))?")
_PORTS = {"https": 443, "http": 80}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PROGRAM = "exec:"
_MAX_ENTRIES = 50
_MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    """``hosts``: each ``host``, ``host:port`` or ``host:*`` (any port); ``*.`` before it stands for every name below
    it. They are spoken to over TLS; without it only this machine, or a host written ``http://host``. ``programs``: the
    words that a command line must begin with; ``*`` for any."""

    hosts: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def send_to(self, url: str) -> bool:
        """Whether it may be sent to ``url``."""
        try:
            parts = urlsplit(url)
            scheme, name, port = parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            return False
        if scheme not in _PORTS or not name:
            return False
        return any(_matches(entry, scheme, name, port) for entry in self.hosts)

    def hand_to(self, command: Sequence[str]) -> bool:
        """Whether a program that is started by ``command`` may be given it."""
        begins = ([] if entry == "*" else entry.split() for entry in self.programs)
        return any(list(command[: len(words)]) == words for words in begins)


def _matches(entry: str, scheme: str, name: str, port: int | None) -> bool:
    plain = entry.startswith("http://")
    host, _, wanted = entry.removeprefix("http://").partition(":")
    if scheme == "http" and not plain and not _is_here(name):
        return False
    if wanted != "*" and port != (int(wanted) if wanted else _PORTS[scheme]):
        return False
    return name.endswith(host[1:]) and name != host[2:] if host.startswith("*.") else name == host


def _is_here(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def read_bounds(hosts: Iterable[str], programs: Iterable[str] = ()) -> Bounds:
    """The bounds that are meant by these words. Raises Refused for one that is none, and for none at all."""
    found = Bounds(_once(host.strip().lower() for host in hosts), _once(" ".join(one.split()) for one in programs))
    for host in found.hosts:
        port = host.removeprefix("http://").partition(":")[2]
        if not _HOST.fullmatch(host) or (port.isdigit() and not 0 < int(port) < 65536):
            raise _refused(f"{host[:100]!r} is no host", "Write it as api.example.com, 127.0.0.1:9010, *.example.com.")
    for words in found.programs:
        if not words or len(words) > _MAX_TEXT or not words.isprintable():
            raise _refused("A program has no words", "Write how its command line begins, as in npx -y some-server.")
    if not found.hosts and not found.programs:
        raise _refused("It may go nowhere", "Name a host that it may be sent to, or a program that may be given it.")
    if len(found.hosts) > _MAX_ENTRIES or len(found.programs) > _MAX_ENTRIES:
        raise _refused(f"There are more than {_MAX_ENTRIES} entries", "Name those that need it.")
    return found


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _refused(message: str, fix: str) -> Refused:
    return Refused("bad_bounds", f"{message}.", fix=fix, status=422)


def variables(text: str) -> Mapping[str, Bounds]:
    """The bounds of each variable in a list as ``KEY=api.example.com|other.example.com, DB_URL=exec:npx -y server``.
    Raises Refused for a text that is no such list."""
    found: dict[str, Bounds] = {}
    for item in (part.strip() for part in text.split(",")):
        if not item:
            continue
        name, mark, places = item.partition("=")
        if not mark or not _VARIABLE.fullmatch(name.strip()):
            raise _refused(f"{item[:100]!r} does not say where a variable may go", "Write VARIABLE=host.")
        named = [place.strip() for place in places.split("|")]
        hosts = (place for place in named if not place.startswith(_PROGRAM))
        programs = (place.removeprefix(_PROGRAM) for place in named if place.startswith(_PROGRAM))
        found[name.strip()] = read_bounds(hosts, programs)
    return found


class Variables(Container[str]):
    """Texts that ``variables`` reads."""

    def __contains__(self, text: object) -> bool:
        try:
            variables(str(text))
        except Refused:
            return False
        return True
