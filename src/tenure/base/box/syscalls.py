"""The seccomp filter of a confined process: a program for the kernel's classic BPF machine, as bytes.

A network namespace bounds IP and abstract sockets. It does not bound sockets that have a name in the file system (a
container engine's, an SSH agent's), nor families that know no namespaces (vsock). So the filter lets a process make
sockets of IPv4, IPv6 and netlink only, and pairs that are connected from birth. ``io_uring`` would make sockets past
any filter and is not there; nothing can be typed into the terminal that the process shares with the person who started
it.

Sources: seccomp(2), socket(2), ``linux/filter.h``, ``linux/seccomp.h`` and the tables of system calls of both machines.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # of struct seccomp_data

_AF_UNIX, _FAMILIES = 1, (2, 10, 16)  # AF_INET, AF_INET6, AF_NETLINK
_PAIRS = (1, 5)  # SOCK_STREAM, SOCK_SEQPACKET: a pair of datagrams could still be sent anywhere
_TYPE_MASK = 0xF  # below it are SOCK_CLOEXEC and SOCK_NONBLOCK
_TYPING = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_X32 = 0x40000000  # from here on: the same calls under other numbers

# machine: (architecture as the kernel tells it, socket, socketpair, ioctl, io_uring_setup)
_MACHINES = {
    "x86_64": (0xC000003E, 41, 53, 16, 425),
    "aarch64": (0xC00000B7, 198, 199, 29, 425),
}


def known(machine: str) -> bool:
    """Whether there is a filter for ``machine`` (as ``platform.machine()`` names it)."""
    return machine in _MACHINES


def program(machine: str) -> bytes:
    """The filter for ``machine``. Raises KeyError for one that is not ``known``."""
    arch, socket, pair, ioctl, ring = _MACHINES[machine]
    deny = _return(_ERRNO | errno.EACCES)
    lines = [
        _line(_LOAD, _ARCH_AT),
        *_unless(arch, _return(_KILL)),
        _line(_LOAD, _NUMBER_AT),
        *_from(_X32, _return(_KILL)),
        *_when(ring, _return(_ERRNO | errno.ENOSYS)),
        *_when(socket, [_line(_LOAD, _argument(0)), *_among(_FAMILIES), *deny]),
        *_when(
            pair,
            [
                _line(_LOAD, _argument(0)),
                *_unless(_AF_UNIX, deny),
                _line(_LOAD, _argument(1)),
                _line(_AND, _TYPE_MASK),
                *_among(_PAIRS),
                *deny,
            ],
        ),
        *_when(
            ioctl,
            [
                _line(_LOAD, _argument(1)),
                *(line for number in _TYPING for line in _when(number, deny)),
                *_return(_ALLOW),
            ],
        ),
        *_return(_ALLOW),
    ]
    return b"".join(lines)


def _argument(index: int) -> int:
    """Where the lower half of an argument is; both machines are little-endian, and the kernel reads an int there."""
    return _ARGUMENTS_AT + 8 * index


def _line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """One instruction (struct sock_filter); ``then`` and ``otherwise`` are how many to skip."""
    return struct.pack("<HBBI", code, then, otherwise, value)


def _return(value: int) -> list[bytes]:
    return [_line(_RETURN, value)]


def _when(value: int, body: Sequence[bytes]) -> list[bytes]:
    """``body``, if what was loaded is ``value``."""
    return [_line(_JUMP_EQUAL, value, 0, len(body)), *body]


def _unless(value: int, body: Sequence[bytes]) -> list[bytes]:
    return [_line(_JUMP_EQUAL, value, len(body), 0), *body]


def _from(value: int, body: Sequence[bytes]) -> list[bytes]:
    return [_line(_JUMP_AT_LEAST, value, 0, len(body)), *body]


def _among(values: Sequence[int]) -> list[bytes]:
    """Allowed, if what was loaded is one of ``values``."""
    return [line for value in values for line in _when(value, _return(_ALLOW))]
