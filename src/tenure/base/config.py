"""Settings. Each is an environment variable with a default and one line that says what it does; ``docs/settings.md`` is
generated from this table, and a setting that is not in it does not exist."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tenure.base.bounds import Bounds, Variables, variables
from tenure.base.scan.rules import CLASSES
from tenure.kernel.errors import Refused

CLIENT_WAYS = ("documents", "registration", "loopback")
"""How programs may be known that people log in with, besides those that an operator registers."""
TRACE_SCHEMES = ("clickhouse", "clickhouses", "chdb")
"""How the address of a trace store begins that is no file: ClickHouse, over TLS, or in this process."""
_KEY_SOURCE = r"file|env:[A-Za-z_][A-Za-z0-9_]{0,127}|transit:[A-Za-z0-9_./-]{1,128}/[A-Za-z0-9_.-]{1,64}"


class _Words(Container[str]):
    """Texts that list some of ``words``, separated by commas."""

    def __init__(self, words: Container[str]) -> None:
        self._words = words

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and all(word in self._words for word in words_of(text))


class _KeySource(Container[str]):
    """Texts that say where the key of the secrets comes from."""

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and re.fullmatch(_KEY_SOURCE, text) is not None


class _Place(Container[str]):
    """Texts that say where traces are kept, without a password."""

    def __contains__(self, text: object) -> bool:
        scheme, found, rest = str(text).partition("://")
        if not found:
            return True
        who, at, _ = rest.partition("/")[0].rpartition("@")
        return scheme in TRACE_SCHEMES and bool(rest) and not (at and ":" in who)


class _Periods(Container[str]):
    """Texts that say how many days content is kept: usually, and for classes of data."""

    def __contains__(self, text: object) -> bool:
        parts = [part.strip() for part in str(text).split(",")]
        usual = [part for part in parts if re.fullmatch(r"[1-9][0-9]{0,4}", part)]
        classes = [part for part in parts if re.fullmatch(r"[^=,]{1,63}=[ ]*[1-9][0-9]{0,4}", part)]
        return len(usual) == 1 and len(usual) + len(classes) == len(parts)


def words_of(text: str) -> frozenset[str]:
    """The words of a list that is separated by commas."""
    return frozenset(word.strip() for word in text.split(",") if word.strip())


_PORT: tuple[Container[Any], str] = (range(1, 65536), "a port from 1 to 65535")
_ALLOWED: Mapping[str, tuple[Container[Any], str]] = {
    "control_port": _PORT,
    "gateway_port": _PORT,
    "otlp_port": (range(65536), "a port from 1 to 65535, or 0"),
    "sandbox": (("auto", "required", "off"), "auto, required or off"),
    "session_life_s": (range(60, 2_678_401), "seconds from 60 to 2678400"),
    "session_idle_s": (range(60, 2_678_401), "seconds from 60 to 2678400"),
    "redact": (_Words(CLASSES), f"some of {', '.join(CLASSES)}, separated by commas"),
    "oauth_clients": (_Words(CLIENT_WAYS), f"some of {', '.join(CLIENT_WAYS)}, separated by commas"),
    "oauth_ttl_s": (range(60, 3601), "seconds from 60 to 3600"),
    "jwks_max_age_s": (range(1, 86_401), "seconds from 1 to 86400"),
    "orphan_grace_h": (range(8_785), "hours from 0 to 8784"),
    "confirm_days": (range(3_661), "days from 0 to 3660"),
    "inactive_days": (range(3_661), "days from 0 to 3660"),
    "owner_grace_days": (range(1, 3_661), "days from 1 to 3660"),
    "token_ttl_s": (range(1, 86_401), "seconds from 1 to 86400"),
    "door_ttl_s": (range(1, 86_401), "seconds from 1 to 86400"),
    "env_credentials": (Variables(), "a list as KEY=api.example.com, OTHER=exec:npx -y server"),
    "secrets_key": (_KeySource(), "file, env:VARIABLE or transit:MOUNT/KEY"),
    "traces": (_Place(), "a file, clickhouse://USER@HOST:PORT/DATABASE or clickhouses://..., without a password"),
    "delegation_ttl_s": (range(1, 86_401), "seconds from 1 to 86400"),
    "delegation_depth": (range(1, 33), "a number from 1 to 32"),
    "blame_judge_timeout_s": (range(1, 51), "seconds from 1 to 50"),
    "blame_judge_daily": (range(1, 1_000_001), "a number from 1 to 1000000"),
    "keep_content": (_Periods(), "days as 90, or with those of classes of data as 90, health=7"),
    "keep_records": (range(1, 36_501), "days from 1 to 36500"),
    "content_share": (range(101), "percent from 0 to 100"),
    "log_level": (("debug", "info", "warning", "error"), "debug, info, warning or error"),
}
_KINDS = {int: "a whole number", float: "a number"}


def _setting(default: Any, env: str, doc: str) -> Any:
    return field(default=default, metadata={"env": env, "doc": doc})


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a process."""

    data_dir: Path = _setting(Path(".tenure"), "TENURE_DATA", "Folder that holds everything Tenure keeps")
    host: str = _setting("127.0.0.1", "TENURE_HOST", "Address that the control plane and the gateway listen on")
    control_port: int = _setting(7700, "TENURE_CONTROL_PORT", "Port of the control plane: API and console")
    public_url: str = _setting("", "TENURE_PUBLIC_URL", "Address at which browsers reach the console, behind a proxy")
    oidc: str = _setting("", "TENURE_OIDC", "JSON file of issuers that people log in with (docs/oidc.md); empty: none")
    session_life_s: int = _setting(
        43_200, "TENURE_SESSION_LIFE", "Seconds after which a browser must log in again; at most 2678400 (31 days)"
    )
    session_idle_s: int = _setting(
        7_200, "TENURE_SESSION_IDLE", "Seconds without use after which a browser must log in again"
    )
    gateway_port: int = _setting(7710, "TENURE_GATEWAY_PORT", "Port of the gateway: model API and MCP")
    otlp_port: int = _setting(
        4317, "TENURE_OTLP_PORT", "Port of the control plane for OTLP over gRPC; 0 for none (OTLP over HTTP stays)"
    )
    otlp_waiting_max_bytes: int = _setting(
        64 << 20,
        "TENURE_OTLP_WAITING_MAX_BYTES",
        "Bytes of OTLP requests that are written at once; what is beyond is turned away and sent again by its client",
    )
    gateway_address: str = _setting(
        "", "TENURE_GATEWAY_URL", "Address by which agents reach the gateway; empty means its host and port"
    )
    delegation_ttl_s: int = _setting(
        900, "TENURE_DELEGATION_TTL", "Seconds for which an agent may work on what another handed to it"
    )
    delegation_depth: int = _setting(
        5, "TENURE_DELEGATION_DEPTH", "How many agents may hand work on, one to the next, before a call is refused"
    )
    judge: str = _setting(
        "",
        "TENURE_JUDGE",
        "Address of a model API (OpenAI's, up to /v1) that is asked how risky calls are, where a policy reads it; "
        "empty: none",
    )
    judge_model: str = _setting("", "TENURE_JUDGE_MODEL", "The model that is asked how risky a call is")
    judge_key: str = _setting(
        "", "TENURE_JUDGE_KEY", "Name of the variable of the gateway's environment that holds the key for TENURE_JUDGE"
    )
    judge_timeout_s: float = _setting(
        5.0, "TENURE_JUDGE_TIMEOUT", "Seconds after which a judge that has not answered counts as unsure"
    )
    embeddings: str = _setting(
        "",
        "TENURE_EMBEDDINGS",
        "Address of an embeddings API (OpenAI's, up to /v1) by which agents, tools and policies are found by meaning; "
        "empty: by words only",
    )
    embeddings_model: str = _setting("", "TENURE_EMBEDDINGS_MODEL", "The model that gives the vectors")
    embeddings_key: str = _setting(
        "",
        "TENURE_EMBEDDINGS_KEY",
        "Name of the variable of the control plane's environment that holds the key for TENURE_EMBEDDINGS",
    )
    blame_judge: str = _setting(
        "",
        "TENURE_BLAME_JUDGE",
        "Address of a model API (OpenAI's, up to /v1) that people may ask which step failed a run; empty: none",
    )
    blame_judge_model: str = _setting("", "TENURE_BLAME_JUDGE_MODEL", "The model that is asked which step failed a run")
    blame_judge_key: str = _setting(
        "",
        "TENURE_BLAME_JUDGE_KEY",
        "Name of the variable of the control plane's environment that holds the key for TENURE_BLAME_JUDGE",
    )
    blame_judge_timeout_s: int = _setting(
        40, "TENURE_BLAME_JUDGE_TIMEOUT", "Seconds after which the judge of TENURE_BLAME_JUDGE is not waited for"
    )
    blame_judge_daily: int = _setting(
        50, "TENURE_BLAME_JUDGE_DAILY", "How often a workspace may ask the judge of TENURE_BLAME_JUDGE in 24 hours"
    )
    database_url: str = _setting("", "TENURE_DATABASE_URL", "Control database; empty means SQLite in the data folder")
    policy_dir: str = _setting(
        "",
        "TENURE_POLICIES",
        "Folder of Cedar files, one in it for each further workspace; empty: `policies` in the data folder",
    )
    workspace: str = _setting("default", "TENURE_WORKSPACE", "The installation's own workspace")
    log_level: str = _setting("warning", "TENURE_LOG_LEVEL", "debug, info, warning or error")
    token_ttl_s: int = _setting(3600, "TENURE_TOKEN_TTL", "Lifetime of an agent's token, in seconds; at most 86400")
    oauth_ttl_s: int = _setting(
        600, "TENURE_OAUTH_TTL", "Lifetime of a token that an agent gets for its key, in seconds; 60 to 3600"
    )
    door_ttl_s: int = _setting(
        300, "TENURE_DOOR_TTL", "Lifetime of tokens that `tenure run` renews by itself, in seconds; at most 86400"
    )
    oauth_clients: str = _setting(
        "documents",
        "TENURE_OAUTH_CLIENTS",
        "How programs may be known that people log in with, besides those that an operator registers: documents (at an "
        "https address of theirs), registration (they register themselves), loopback (documents on this machine)",
    )
    rotate_keys_h: float = _setting(
        720.0, "TENURE_ROTATE_KEYS", "Hours after which the keys that sign tokens are replaced by new ones; 0 for never"
    )
    jwks_max_age_s: int = _setting(
        60,
        "TENURE_JWKS_MAX_AGE",
        "Seconds for which verifiers may keep the key set; a key is in it for as long before it signs; 1 to 86400",
    )
    rotate_agents_h: float = _setting(
        24.0, "TENURE_ROTATE_AGENTS", "Hours after which an agent's credentials are replaced by new ones; 0 for never"
    )
    overlap_s: int = _setting(
        600, "TENURE_OVERLAP", "Seconds for which an agent's replaced credentials are good beside the new ones"
    )
    snapshot_max_age_s: float = _setting(
        15.0, "TENURE_SNAPSHOT_MAX_AGE", "Seconds after which a gateway that hears nothing decides as if told to stop"
    )
    spool_max_bytes: int = _setting(
        1 << 30, "TENURE_SPOOL_MAX_BYTES", "Disk that a gateway's spool of unsent Events may take, in bytes"
    )
    body_max_bytes: int = _setting(16 << 20, "TENURE_BODY_MAX_BYTES", "Largest request body a gateway takes, in bytes")
    upstream_timeout_s: float = _setting(
        300.0, "TENURE_UPSTREAM_TIMEOUT", "Seconds a model provider may stay silent before a call is given up"
    )
    answer_timeout_s: float = _setting(
        3600.0,
        "TENURE_ANSWER_TIMEOUT",
        "Seconds until an answer of a model provider must be whole, unless the agent's manifest says otherwise",
    )
    stream_max_bytes: int = _setting(
        256 << 20, "TENURE_STREAM_MAX_BYTES", "Longest stream of a model provider that is passed on, in bytes"
    )
    sandbox: str = _setting(
        "auto",
        "TENURE_SANDBOX",
        "Whether MCP servers that a gateway starts are kept in by bubblewrap: auto (where it works), required, off",
    )
    confine: str = _setting(
        "",
        "TENURE_CONFINE",
        "Workspaces, separated by commas, whose agents may be started confined to the gateway only; * for all of them",
    )
    four_eyes: str = _setting(
        "",
        "TENURE_FOUR_EYES",
        "Workspaces, separated by commas, where nobody grants what they asked for themselves; * for all of them",
    )
    orphan_grace_h: int = _setting(
        72, "TENURE_ORPHAN_GRACE", "Hours after which an agent whose owner left is suspended unless it is taken over"
    )
    confirm_days: int = _setting(
        180, "TENURE_CONFIRM_EVERY", "Days after which an owner must confirm that they answer for an agent; 0 for never"
    )
    inactive_days: int = _setting(
        90,
        "TENURE_INACTIVE_AFTER",
        "Days without a call or a sign of life after which an agent is inactive; 0 for never",
    )
    owner_grace_days: int = _setting(
        30, "TENURE_OWNER_GRACE", "Days after which an agent that is unconfirmed or inactive is suspended"
    )
    mcp_processes: int = _setting(
        64, "TENURE_MCP_PROCESSES", "MCP servers that a gateway runs at most; idle ones make room for others"
    )
    mcp_start_timeout_s: float = _setting(
        20.0, "TENURE_MCP_START_TIMEOUT", "Seconds until an MCP server must be ready after its start"
    )
    mcp_call_timeout_s: float = _setting(
        120.0, "TENURE_MCP_CALL_TIMEOUT", "Seconds until an MCP server must have answered a call"
    )
    mcp_ask_timeout_s: float = _setting(
        110.0, "TENURE_MCP_ASK_TIMEOUT", "Seconds that an agent's client has to answer what an MCP server asks it"
    )
    mcp_list_age_s: float = _setting(
        60.0, "TENURE_MCP_LIST_AGE", "Seconds after which an MCP server is asked for its tools anew"
    )
    mcp_message_max_bytes: int = _setting(
        8 << 20, "TENURE_MCP_MESSAGE_MAX_BYTES", "Longest message of an MCP server that is taken, in bytes"
    )
    mcp_subscriptions: int = _setting(
        100, "TENURE_MCP_SUBSCRIPTIONS", "MCP resources that one session, or one listening client, may subscribe to"
    )
    env_credentials: str = _setting(
        "OPENAI_API_KEY=api.openai.com,ANTHROPIC_API_KEY=api.anthropic.com,"
        "GEMINI_API_KEY=generativelanguage.googleapis.com,GOOGLE_API_KEY=generativelanguage.googleapis.com",
        "TENURE_ENV_CREDENTIALS",
        "Variables of the gateway's environment that manifests may name, and where each may go; see secrets.md",
    )
    secrets_key: str = _setting(
        "file", "TENURE_SECRETS_KEY", "Key that secrets are kept under: file, env:VARIABLE or transit:MOUNT/KEY"
    )
    traces: str = _setting(
        "",
        "TENURE_TRACES",
        "Where traces are kept: a DuckDB file (empty: `traces.duckdb` in the data folder), or ClickHouse as "
        "clickhouse://USER@HOST:PORT/DATABASE (clickhouses:// over TLS); never with a password",
    )
    traces_key: str = _setting(
        "",
        "TENURE_TRACES_KEY",
        "Name of the variable of the control plane's environment that holds the password for ClickHouse",
    )
    traces_memory_mb: int = _setting(
        512, "TENURE_TRACES_MEMORY", "Memory that the embedded trace store may take, in MB"
    )
    keep_content: str = _setting(
        "90",
        "TENURE_KEEP_CONTENT",
        "Days that prompts, answers, arguments and results are kept; with days for classes of data: 90, health=7",
    )
    keep_records: int = _setting(400, "TENURE_KEEP_RECORDS", "Days that traces are kept at all, without their content")
    content_share: int = _setting(
        100, "TENURE_CONTENT_SHARE", "Percent of uneventful traces whose content is kept beyond the first hour"
    )
    prices: str = _setting(
        "", "TENURE_PRICES", "JSON file of one's own prices of models, which go before those of genai-prices"
    )
    notify_private: str = _setting(
        "",
        "TENURE_NOTIFY_PRIVATE",
        "Hosts (or host:port) of one's own network, separated by commas, that notifications may go to; without it only "
        "webhooks and mail servers on the public network",
    )
    export_private: str = _setting(
        "",
        "TENURE_EXPORT_PRIVATE",
        "Hosts (or host:port) of one's own network, separated by commas, that traces may be sent on to; without it "
        "only receivers on the public network",
    )
    redact: str = _setting(
        "personal",
        "TENURE_REDACT",
        "Classes of findings that are redacted from what is kept, besides secrets, which always are; see findings.md",
    )
    drain_s: float = _setting(10.0, "TENURE_DRAIN", "Seconds that running calls get to finish when Tenure is stopped")

    def takes_two(self, workspace: str) -> bool:
        """Whether somebody else must grant what a person asked for."""
        return not {"*", workspace}.isdisjoint(words_of(self.four_eyes))

    def confines(self, workspace: str) -> bool:
        """Whether agents of a workspace may be started confined only."""
        return not {"*", workspace}.isdisjoint(words_of(self.confine))

    @property
    def variables(self) -> Mapping[str, Bounds]:
        """The variables of the gateway's environment that manifests may name, and where each may go."""
        return variables(self.env_credentials)

    @property
    def redacted(self) -> frozenset[str]:
        """The classes of findings that are redacted from what is kept."""
        return words_of(self.redact) | {"secret"}

    @property
    def database(self) -> str:
        """The control database's URL as SQLAlchemy writes it."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'control.db'}"

    @property
    def policies(self) -> Path:
        """The folder of Cedar files."""
        return Path(self.policy_dir) if self.policy_dir else self.data_dir / "policies"

    @property
    def traces_file(self) -> Path | None:
        """The file of the embedded trace store; None when it is kept elsewhere."""
        if self.traces.partition("://")[0] in TRACE_SCHEMES:
            return None
        return Path(self.traces) if self.traces else self.data_dir / "traces.duckdb"

    @property
    def control_url(self) -> str:
        """Where the control plane is reached from this machine."""
        return f"http://{self.host}:{self.control_port}"

    @property
    def gateway_url(self) -> str:
        """Where agents reach the gateway."""
        return self.gateway_address.rstrip("/") or f"http://{self.host}:{self.gateway_port}"


def load(environ: Mapping[str, str] | None = None) -> Config:
    """The settings of ``environ`` (default: this process's). Raises Refused for a value of the wrong kind."""
    given = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for item in fields(Config):
        text = given.get(item.metadata["env"])
        if text is None:
            continue
        kind: Any = type(item.default)
        try:
            values[item.name] = kind(text)
        except ValueError as error:
            raise Refused(
                "bad_setting",
                f"{item.metadata['env']}={text!r} is not {_KINDS[kind]}",
                fix=f"Unset it for the default ({item.default}) or give {_KINDS[kind]}.",
            ) from error
        if item.name in _ALLOWED:
            _check(item.metadata["env"], values[item.name], item.default, *_ALLOWED[item.name])
    return Config(**values)


def _check(env: str, value: Any, default: Any, allowed: Container[Any], words: str) -> None:
    if value not in allowed:
        raise Refused(
            "bad_setting",
            f"{env}={str(value)!r} is not {words}",
            fix=f"Unset it for the default ({default}) or give {words}.",
        )


def environment(config: Config) -> dict[str, str]:
    """The variables that make another process load the same settings."""
    return {item.metadata["env"]: str(getattr(config, item.name)) for item in fields(Config)}
