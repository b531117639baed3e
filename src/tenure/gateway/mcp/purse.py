"""The credentials of one MCP server: what is sent to its address, or what its command is started with."""

from __future__ import annotations

from tenure.gateway.keychain import Credential, Keychain, NoCredentialError
from tenure.kernel.errors import Failed
from tenure.kernel.snapshot import ServerFact


class Purse:
    """Looks into ``credentials`` whenever it is asked: values change while a server is in use. ``person``: for whom it
    is reached, where people let agents in themselves."""

    def __init__(self, credentials: Keychain, workspace: str, fact: ServerFact, person: str) -> None:
        self._credentials = credentials
        self._workspace = workspace
        self._fact = fact
        self._person = person.lower()

    def bearer(self) -> Credential | None:
        """What is sent to the address now. Raises Failed (upstream_unavailable, not_connected)."""
        fact = self._fact
        url = fact.url or ""
        try:
            if fact.connector:
                found = self._credentials.of_person(self._workspace, fact.connector, self._person, url)
                if found is None:
                    who = f"{self._person} has not let agents in" if self._person else "it is reached for a person only"
                    raise Failed("not_connected", f"{fact.name}: {who}.")
                return found
            found = self._credentials.to_send(self._workspace, fact.credential_secret, fact.credential_env, url)
        except NoCredentialError as error:
            raise Failed("upstream_unavailable", f"{error}.") from None
        if found is None and fact.credential_env:
            text = f"The gateway's environment has no {fact.credential_env}, the credential of this server."
            raise Failed("upstream_unavailable", text)
        return found

    def environment(self) -> dict[str, str]:
        """What the command is started with. Raises Failed (upstream_unavailable)."""
        try:
            return self._credentials.environment(self._workspace, self._fact)
        except NoCredentialError as error:
            raise Failed("upstream_unavailable", f"{error}.") from None

    def marks(self) -> tuple[str, ...]:
        """What changes when a secret that the command is started with has another value."""
        return self._credentials.marks(self._workspace, self._fact.env_secrets.values())
