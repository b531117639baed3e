"""Both ends of the start of a confined process; needs nothing but the standard library.

    python -I -S launch.py around BWRAP...
    python -I -S launch.py within FD PORT[,PORT...] COMMAND...

``around`` becomes bubblewrap, deaf to signals that are meant for the command: it shares the process group with it, and
would end and take it along before the command could end well. ``within`` is where the only network is a loopback of its
own: it listens on each port there, hands the listening sockets out through the socket FD, and becomes the command. What
is accepted on them outside is the only way out of there.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

_FOR_THE_COMMAND = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2),
)


def _become(command: list[str]) -> int:
    try:
        os.execvp(command[0], command)  # noqa: S606 (the person's command, without a shell)
    except OSError as error:
        os.write(2, f"{command[0]} could not be started: {error.strerror}\n".encode())
        return 127 if isinstance(error, FileNotFoundError) else 126


def _around(command: list[str]) -> int:
    for number in _FOR_THE_COMMAND:
        signal.signal(number, signal.SIG_IGN)
    return _become(command)


def _within(channel: int, ports: list[int], command: list[str]) -> int:
    listeners = []
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
        listeners.append(listener)
    with socket.socket(fileno=channel) as out:
        socket.send_fds(out, [b"listening"], [listener.fileno() for listener in listeners])
    for number in _FOR_THE_COMMAND:
        signal.signal(number, signal.SIG_DFL)
    return _become(command)


if __name__ == "__main__":
    if sys.argv[1] == "around":
        sys.exit(_around(sys.argv[2:]))
    sys.exit(_within(int(sys.argv[2]), [int(port) for port in sys.argv[3].split(",")], sys.argv[4:]))
