"""``python -m tenure.gateway``: one gateway process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import sys

import uvloop

from tenure.base import log
from tenure.base.config import Config, load
from tenure.base.memory import give_back, keep_private
from tenure.base.scan.scanner import prepare
from tenure.gateway.app import Gateway
from tenure.kernel.errors import Refused


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(config)
    prepare()  # the rules of scanning; the first call need not wait for them
    try:
        port = await gateway.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refused(
                "port_taken",
                f"Port {config.gateway_port} on {config.host} is taken.",
                fix="Stop what listens there, or set TENURE_GATEWAY_PORT.",
            ) from None
        raise Refused("cannot_listen", f"Cannot listen on {config.host}:{config.gateway_port}: {error}.") from None
    # What is loaded by now stays: the collector need not walk it during calls, nor look after every few of them.
    gc.freeze()
    give_back()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(0.0002)  # the spool's thread must not hold a call up for the usual 5 ms
    print(f"gateway ready http://{config.host}:{port}", flush=True)
    await stop.wait()
    await gateway.stop()
    os._exit(0)  # all is said and written; Python would wait for ever for a thread that a hanging disk holds


def main() -> int:
    """Exit status 0 after a clean stop, 1 with one line on standard error when it cannot start."""
    keep_private()
    try:
        config = load()
        log.configure(config.log_level)
        uvloop.run(_serve(config))
    except Refused as error:
        print(f"tenure gateway: {error.message} {error.fix}".strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
