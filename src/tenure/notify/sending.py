"""One attempt to bring a message to an address: webhooks over HTTP, everything else through apprise.

A webhook goes where somebody of a workspace says, so it is the place where they have the control plane make a request:
only to addresses of the public network (or hosts that the installation declares), looked up once and connected to
as found, no redirect followed, time and size bounded. What a peer answers is never repeated but for its status.

Apprise is loaded when the first message goes through it: with what it brings along it takes five megabytes, and many
have no destination that needs it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import ssl
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

import httpx2

from tenure import __version__
from tenure.base.addresses import is_public
from tenure.kernel.errors import Refused
from tenure.notify.model import SLACK, TEAMS, Destination, Outcome, declared

if TYPE_CHECKING:
    from apprise import AppriseAsset
    from apprise.plugins import NotifyBase

DEADLINE_S = 15.0
_STATUS = re.compile(r"error=(\d{3})")

# They log addresses and answers, and these are secrets or others' words: nothing of that goes anywhere but below.
_apprise = logging.getLogger("apprise")
for _quiet in (_apprise, logging.getLogger("urllib3")):
    _quiet.setLevel(logging.WARNING)
    _quiet.propagate = False


class _Status(logging.Handler):
    """Keeps the HTTP status that apprise finds in this thread, and none of its words. One attempt, one handler."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.status = ""
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Reads a status out of a line."""
        if record.thread != self._thread:
            return
        found = _STATUS.search(record.getMessage())
        self.status = found[1] if found else self.status


# -- webhooks -------------------------------------------------------------------------------------------------------


def post(url: str, headers: dict[str, str], body: bytes, private: frozenset[str]) -> Outcome:
    """Sends a webhook once. 2xx has arrived; 410 says that nobody wants it any more."""
    try:
        status = asyncio.run(_within_time(url, headers, body, private))
    except TimeoutError:
        return Outcome(False, f"it did not answer within {DEADLINE_S:g} seconds")
    except Refused as error:
        return Outcome(False, error.message)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return Outcome(False, f"it cannot be reached ({type(error).__name__})")
    if 200 <= status < 300:
        return Outcome(True)
    if status == 410:
        return Outcome(False, "it answers 410: it wants no more of this", final=True)
    also = ", which is not followed" if 300 <= status < 400 else ""
    return Outcome(False, f"it answers {status}{also}")


async def _within_time(url: str, headers: dict[str, str], body: bytes, private: frozenset[str]) -> int:
    async with asyncio.timeout(DEADLINE_S):
        return await _post(url, headers, body, private)


async def _post(url: str, headers: dict[str, str], body: bytes, private: frozenset[str]) -> int:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    address = (await reachable(host, port, anywhere=declared(url, private)))[0]
    place = f"[{address}]" if ":" in address else address
    target = f"{parts.scheme}://{place}:{port}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
    sent = {"host": parts.netloc, "user-agent": f"Tenure/{__version__}", "content-type": "application/json", **headers}
    context = ssl.create_default_context() if parts.scheme == "https" else False
    async with (
        httpx2.AsyncClient(trust_env=False, follow_redirects=False, verify=context, timeout=DEADLINE_S) as client,
        client.stream("POST", target, headers=sent, content=body, extensions={"sni_hostname": host}) as reply,
    ):
        return reply.status_code  # what it says besides is nobody's to read


async def reachable(host: str, port: int, *, anywhere: bool) -> list[str]:
    """The addresses of a host, IPv4 first. Raises Refused when one of them is not of the public network: who answers
    for the name would otherwise choose. ``anywhere``: the installation has declared this host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or (not anywhere and not all(map(is_public, addresses))):
        raise Refused(
            "private_address",
            "its address is not on the public network",
            fix="TENURE_NOTIFY_PRIVATE names hosts of one's own network that may be told.",
            status=422,
        )
    return sorted(addresses, key=lambda one: ipaddress.ip_address(one.partition("%")[0]).version)


# -- through apprise ------------------------------------------------------------------------------------------------


@cache
def _asset() -> AppriseAsset:
    from apprise import AppriseAsset  # noqa: PLC0415 (see above)

    return AppriseAsset(
        app_id="Tenure", app_desc="Tenure", app_url="", image_url_mask="", image_url_logo="", http_redirects=False
    )


def mail(  # noqa: PLR0917 (the parts of one mail)
    destination: Destination, address: str, password: str, title: str, text: str, private: frozenset[str]
) -> Outcome:
    """Sends a mail to one address."""
    from apprise.plugins.email import NotifyEmail  # noqa: PLC0415 (see above)

    parts = urlsplit(destination.url)
    port = parts.port or {"smtps": 465, "smtp+starttls": 587}.get(parts.scheme, 25)
    try:
        asyncio.run(reachable(parts.hostname or "", port, anywhere=declared(destination.url, private)))
    except Refused as error:
        return Outcome(False, error.message)
    except OSError as error:
        return Outcome(False, f"it cannot be reached ({type(error).__name__})")
    mode = {"smtps": "ssl", "smtp+starttls": "starttls"}.get(parts.scheme, "insecure")
    plugin = NotifyEmail(
        smtp_host=parts.hostname,
        host=parts.hostname,
        port=port,
        user=unquote(parts.username) if parts.username else None,
        password=password or None,
        secure_mode=mode,
        from_addr=f"Tenure <{destination.sender}>",
        targets=[address],
        asset=_asset(),
        format="text",
    )
    return _through(plugin, title, text, "the mail server")


def slack(address: str, title: str, text: str, private: frozenset[str]) -> Outcome:
    """Writes into the channel of an incoming webhook of Slack, whose address this is."""
    from apprise.plugins.slack import NotifySlack  # noqa: PLC0415 (see above)

    parts = checked_chat(address, SLACK, private)
    tokens = [piece for piece in parts.path.removeprefix("/services/").split("/") if piece]
    if len(tokens) != 3 or not parts.path.startswith("/services/"):
        return Outcome(False, "the secret is no address of an incoming webhook of Slack", final=True)
    plugin = NotifySlack(
        token_a=tokens[0],
        token_b=tokens[1],
        token_c=tokens[2],
        mode="gov-hook" if parts.hostname == SLACK[1] else "hook",
        include_image=False,
        include_footer=False,
        asset=_asset(),
    )
    return _through(plugin, title, text, "Slack")


def teams(address: str, title: str, text: str, private: frozenset[str]) -> Outcome:
    """Writes into the channel of a workflow of Teams, whose address this is."""
    from apprise.plugins.workflows import NotifyWorkflows  # noqa: PLC0415 (see above)

    checked_chat(address, TEAMS, private)
    read = NotifyWorkflows.parse_native_url(address) or {}
    # By name: an address may hold options of apprise as well, and some of them read files or trust anybody.
    wanted = {name: read[name] for name in _OF_ADDRESS if read.get(name)}
    if not {"workflow", "signature"} <= set(wanted):
        return Outcome(False, "the secret is no address of a workflow of Teams", final=True)
    plugin = NotifyWorkflows(**wanted, schema="workflows", include_image=False, asset=_asset())
    return _through(plugin, title, text, "Teams")


_OF_ADDRESS = ("host", "port", "workflow", "signature", "version", "power_automate", "routing_id")


def checked_chat(address: str, hosts: Sequence[str], private: frozenset[str]) -> SplitResult:
    """The parts of the address that a chat gave. Raises Refused for one of another service, and does not repeat it."""
    try:
        parts = urlsplit(address)
        host, secure = (parts.hostname or "").lower(), parts.scheme == "https"
    except ValueError:
        secure = False
    if not secure or not (_is_one_of(host, hosts) or declared(address, private)):
        raise Refused(
            "bad_address", "the secret is no address of this service", fix="Keep the one it gave.", status=422
        )
    return parts


def _is_one_of(host: str, hosts: Sequence[str]) -> bool:
    return any(host.endswith(one) if one.startswith(".") else host == one for one in hosts)


def _through(plugin: NotifyBase, title: str, text: str, whom: str) -> Outcome:
    """One attempt of apprise's."""
    from apprise import NotifyFormat  # noqa: PLC0415 (see above)

    heard = _Status()
    _apprise.addHandler(heard)
    try:
        sent = plugin.notify(body=text, title=title, body_format=NotifyFormat.TEXT)
    finally:
        _apprise.removeHandler(heard)
    if sent:
        return Outcome(True)
    return Outcome(False, f"{whom} did not take it" + (f": it answers {heard.status}" if heard.status else ""))
