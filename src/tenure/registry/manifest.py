"""The manifest: what a person declares an agent to be. Its JSON Schema is published from these classes.

Reading one finds every fault, not only the first, and never changes what was meant: nothing is guessed from the wrong
kind of value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from tenure.kernel.json import JsonObject
from tenure.kernel.values import Autonomy
from tenure.registry.faults import Fault, nearest, path_of, refuse

API_VERSION = "tenure/v1"
MAX_DEPTH = 32

LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_EMAIL = r"^[^@\s<>\",;:]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
_TOOL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[A-Za-z0-9_.-]{1,128}$"

_DEFAULT_URL = {"openai": "https://api.openai.com/v1", "ollama": "http://127.0.0.1:11434/v1"}

_SECRET = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+)|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_SECRET_NAME = re.compile(r"(?i)(^|_)(api_?key|key|token|secret|password|passwd|credentials?)$")


def _one_line(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise PydanticCustomError("one_line", "must be one line")
    return value


def _web_address(value: str) -> str:
    match = re.match(r"https?://([^/?#\s]+)(/[^\s?#]*)?\Z", value)
    if not match:
        raise PydanticCustomError("web_address", "must be an address such as https://host/path, without ? or #")
    if "@" in match[1]:
        raise PydanticCustomError("secret", "carries a credential; name a variable in credential_env instead")
    return value.rstrip("/")


def _money(value: Any) -> Any:
    """To the one spelling that amounts have: a decimal number of dollars, as text, with two digits for cents."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise PydanticCustomError("money", "must be an amount such as 25 or 2.50")
    try:
        amount = Decimal(str(value))
        cents = amount * 100
        exact = amount.is_finite() and cents == cents.to_integral_value() and 0 <= amount <= 1_000_000_000
    except InvalidOperation:
        exact = False
    if not exact:
        raise PydanticCustomError("money", "must be an amount such as 25 or 2.50, in whole cents and not negative")
    return f"{amount:.2f}"


Label = Annotated[str, Field(pattern=LABEL)]
Variable = Annotated[str, Field(pattern=_VARIABLE)]
Email = Annotated[str, Field(pattern=_EMAIL, max_length=254)]
Line = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_one_line)]
Text = Annotated[str, Field(min_length=1, max_length=8_000)]
Address = Annotated[str, Field(min_length=8, max_length=2_000), AfterValidator(_web_address)]
Level = Annotated[int, Field(ge=1, le=4)]
Money = Annotated[
    str,
    BeforeValidator(_money),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d{1,2})?$"}]}),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Metadata(_Part):
    """Who it is."""

    name: Label = Field(description="Name of the agent: lower-case letters, digits and hyphens, at most 63")
    workspace: Label | None = Field(None, description="Workspace; the one you work in when left out")


class Model(_Part):
    """A model the agent may ask for, and the OpenAI-compatible address that serves it."""

    provider: Label = Field(description="Who serves it, as in openai")
    name: Line = Field(description="Name of the model, as the provider spells it")
    base_url: Address = Field(description="Address up to and including /v1; known for: " + ", ".join(_DEFAULT_URL))
    credential_env: Variable | None = Field(
        None, description="Variable of the gateway's environment that holds the provider's key"
    )


class Server(_Part):
    """An upstream MCP server: a command that the gateway starts, or an address."""

    command: list[Line] | None = Field(None, min_length=1, max_length=100, description="Program and its arguments")
    url: Address | None = Field(None, description="Address of a server that speaks streamable HTTP")
    env: dict[Variable, str] = Field(default_factory=dict, description="Plain settings for the command; no secrets")
    env_from: list[Variable] = Field(
        default_factory=list, max_length=100, description="Variables of the gateway's environment to hand on"
    )
    cwd: Line | None = Field(None, description="Folder that the command starts in")
    credential_env: Variable | None = Field(
        None, description="Variable of the gateway's environment that holds the bearer token for the address"
    )


class Tool(_Part):
    """A granted tool, and how far the agent may go with it alone."""

    name: Annotated[str, Field(pattern=_TOOL)] = Field(description="server/tool")
    autonomy: Annotated[Autonomy, Field(strict=False)] = Field(
        Autonomy.AUTONOMOUS,
        description="autonomous, notify (a person is told), approve (a person decides first), human_only",
    )


class Risk(_Part):
    """Four dimensions, each 1 (least) to 4. The tier is the highest: a high dimension is not averaged away."""

    data_sensitivity: Level = Field(description="1 public, 2 internal, 3 confidential, 4 regulated or personal")
    decision_authority: Level = Field(description="1 drafts, 2 recommends, 3 acts reversibly, 4 acts irreversibly")
    blast_radius: Level = Field(description="1 one task, 2 one team, 3 the company, 4 customers or the public")
    regulatory_exposure: Level = Field(description="1 none, 2 internal rules, 3 contracts or audits, 4 law")

    @property
    def tier(self) -> int:
        """The highest of the four."""
        return max(self.data_sensitivity, self.decision_authority, self.blast_radius, self.regulatory_exposure)


class Budgets(_Part):
    """What it may use up."""

    usd_per_day: Money | None = Field(None, description="US dollars a day, in whole cents")
    calls_per_hour: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = Field(None, description="Calls an hour")
    tokens_per_day: Annotated[int, Field(ge=0, le=1_000_000_000_000)] | None = Field(None, description="Tokens a day")


class Breaker(_Part):
    """So many violations within so many seconds block every further call."""

    threshold: Annotated[int, Field(ge=1, le=10_000)] = Field(5, description="Violations that trip it")
    window_s: Annotated[int, Field(ge=1, le=86_400)] = Field(300, description="Seconds they must fall into")


class Approvals(_Part):
    """How long a held call waits."""

    hold_timeout_s: Annotated[int, Field(ge=0, le=86_400)] = Field(300, description="Seconds a held call waits")


class Dependency(_Part):
    """What it cannot work without: another agent here, or a system elsewhere; exactly one of them."""

    agent: Label | None = Field(None, description="Name of an agent in the same workspace")
    system: Line | None = Field(None, description="Name of anything else")


class Spec(_Part):
    """What it is for, who answers for it, and all that decides how it behaves."""

    purpose: Text = Field(description="What it is for, in a sentence or two")
    goals: list[Text] = Field(default_factory=list, max_length=100, description="What it is to achieve")
    constraints: list[Text] = Field(default_factory=list, max_length=100, description="What it must not do")
    owner: Email = Field(description="Who answers for it")
    sponsor: Email = Field(description="Who wanted it and pays for it")
    framework: Line = Field(description="What it is built with, as in openai, pydantic-ai, langgraph")
    model: Model = Field(description="The model it thinks with")
    models: list[Model] = Field(default_factory=list, max_length=50, description="Further models it may ask for")
    instructions: Annotated[str, Field(min_length=1, max_length=200_000)] = Field(description="Its system prompt")
    servers: dict[Label, Server] = Field(default_factory=dict, max_length=100, description="MCP servers by name")
    tools: list[Tool] = Field(
        default_factory=list, max_length=1_000, description="Tools it is granted; no others exist"
    )
    data_classes: list[Label] = Field(default_factory=list, max_length=100, description="Data it may meet")
    risk: Risk = Field(description="Where it can do harm")
    budgets: Budgets = Field(default_factory=Budgets, description="What it may use up")
    breaker: Breaker = Field(default_factory=Breaker, description="When it is stopped")
    approvals: Approvals = Field(default_factory=Approvals, description="How held calls wait")
    dependencies: list[Dependency] = Field(default_factory=list, max_length=100, description="What it relies on")


class Manifest(_Part):
    """An agent, declared."""

    model_config = ConfigDict(
        title="Tenure agent", json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"}
    )

    api_version: Literal["tenure/v1"] = Field(alias="apiVersion")
    kind: Literal["Agent"]
    metadata: Metadata
    spec: Spec

    @classmethod
    def read(cls, value: Any, *, document: int = 0) -> Self:
        """The manifest that ``value`` (JSON) is. Raises Refused ``invalid_manifest`` whose details hold every fault."""
        faults = _unfit(value, [], document)
        if not faults:
            try:
                manifest = cls.model_validate(_with_known_addresses(value))
            except ValidationError as error:
                faults = [_fault(item, document) for item in error.errors(include_url=False)]
                faults += _secrets(value, document)
            else:
                faults = _secrets(value, document) + _contradictions(manifest, document)
                if not faults:
                    return manifest
        raise refuse(sorted(faults, key=lambda fault: fault.path))

    def as_json(self) -> JsonObject:
        """The one spelling of this manifest: defaults written out, nothing empty. Reads back as an equal manifest."""
        found: JsonObject = _compact(self.model_dump(mode="json", by_alias=True))
        return found


def agent_schema() -> JsonObject:
    """The published JSON Schema (2020-12) of a manifest."""
    return Manifest.model_json_schema(by_alias=True)


def _compact(value: Any) -> Any:
    if isinstance(value, dict):
        small = {key: _compact(item) for key, item in value.items() if item is not None}
        return {key: item for key, item in small.items() if item not in ({}, [])}
    return [_compact(item) for item in value] if isinstance(value, list) else value


def _unfit(value: Any, path: list[str | int], document: int) -> list[Fault]:
    """What no manifest can hold anywhere: values beyond JSON and text that databases or canonical JSON refuse."""
    here = path_of(path)
    if len(path) > MAX_DEPTH:
        return [Fault(here, f"is nested deeper than {MAX_DEPTH} levels", document=document)]
    if isinstance(value, Mapping):
        faults: list[Fault] = []
        for key, item in value.items():
            if not isinstance(key, str) or _bad_text(key):
                faults.append(Fault(here, f"has the key {key!r}", "keys are plain text", document))
            else:
                faults += _unfit(item, [*path, key], document)
        return faults or ([] if path or value else [Fault("", "is empty", "", document)])
    if not path:
        return [Fault("", f"is {_kind(value)}, not a mapping", f"begin with apiVersion: {API_VERSION}", document)]
    if isinstance(value, list):
        return [fault for index, item in enumerate(value) for fault in _unfit(item, [*path, index], document)]
    problem = ""
    if isinstance(value, str) and _bad_text(value):
        problem = "holds control characters or broken Unicode"
    elif isinstance(value, float) and not math.isfinite(value):
        problem = "is not a finite number"
    return [Fault(here, problem, "", document)] if problem else []


def _bad_text(value: str) -> bool:
    return any(
        ("\ud800" <= char <= "\udfff") or (char < " " and char not in "\t\n\r") or char == "\x7f" for char in value
    )


def _with_known_addresses(value: Any) -> Any:
    """Fills in the address of providers that have one, so that what is recorded never depends on a default."""
    spec = value.get("spec") if isinstance(value, Mapping) else None
    if not isinstance(spec, Mapping):
        return value

    def filled(model: Any) -> Any:
        if isinstance(model, Mapping) and model.get("base_url") is None and isinstance(model.get("provider"), str):
            url = _DEFAULT_URL.get(model["provider"])
            return {**model, "base_url": url} if url else model
        return model

    changed = dict(spec)
    if "model" in spec:
        changed["model"] = filled(spec["model"])
    if isinstance(spec.get("models"), list):
        changed["models"] = [filled(model) for model in spec["models"]]
    return {**value, "spec": changed}


def _secrets(value: Any, document: int) -> list[Fault]:
    """Secrets pasted anywhere, told without repeating them."""
    return _secret_texts(value, [], document) + _secret_settings(value, document)


def _secret_texts(value: Any, path: list[str | int], document: int) -> list[Fault]:
    if isinstance(value, Mapping):
        return [fault for key, item in value.items() for fault in _secret_texts(item, [*path, key], document)]
    if isinstance(value, list):
        return [fault for index, item in enumerate(value) for fault in _secret_texts(item, [*path, index], document)]
    if isinstance(value, str) and _SECRET.search(value):
        return [Fault(path_of(path), "looks like a secret", _KEEP_OUT, document)]
    return []


_KEEP_OUT = "keep it in the gateway's environment and name the variable in credential_env or env_from"


def _secret_settings(value: Any, document: int) -> list[Fault]:
    spec = value.get("spec")
    servers = spec.get("servers") if isinstance(spec, Mapping) else None
    faults = []
    for name, server in servers.items() if isinstance(servers, Mapping) else ():
        env = server.get("env") if isinstance(server, Mapping) else None
        for key, item in env.items() if isinstance(env, Mapping) else ():
            if _SECRET_NAME.search(key) and isinstance(item, str) and item and not _SECRET.search(item):
                path = path_of(["spec", "servers", name, "env", key])
                faults.append(Fault(path, "is named like a secret", f"list {key} in env_from instead", document))
    return faults


def _contradictions(manifest: Manifest, document: int) -> list[Fault]:
    """What is well formed and still cannot be meant."""
    spec = manifest.spec
    found: list[tuple[list[str | int], str, str]] = []
    for name, server in spec.servers.items():
        found += [(["spec", "servers", name, *where], what, hint) for where, what, hint in _server_faults(server)]
    seen: set[str] = set()
    for index, tool in enumerate(spec.tools):
        server_name = tool.name.partition("/")[0]
        if server_name not in spec.servers:
            hint = nearest(server_name, spec.servers) or f"declare spec.servers.{server_name}"
            found.append(
                (["spec", "tools", index, "name"], f"names the server {server_name}, which is not declared", hint)
            )
        if tool.name in seen:
            found.append((["spec", "tools", index, "name"], f"grants {tool.name} a second time", "keep one of the two"))
        seen.add(tool.name)
    names: set[str] = {spec.model.name}
    for index, model in enumerate(spec.models):
        if model.name in names:
            found.append((["spec", "models", index, "name"], f"lists {model.name} a second time", "remove it"))
        names.add(model.name)
    for index, dependency in enumerate(spec.dependencies):
        where: list[str | int] = ["spec", "dependencies", index]
        if (dependency.agent is None) == (dependency.system is None):
            found.append((where, "must name either an agent or a system", "give exactly one of the two"))
        elif dependency.agent == manifest.metadata.name:
            found.append(([*where, "agent"], "makes the agent depend on itself", "remove it"))
    return [Fault(path_of(path), problem, hint, document) for path, problem, hint in found]


def _server_faults(server: Server) -> list[tuple[list[str | int], str, str]]:
    if (server.command is None) == (server.url is None):
        return [([], "must have either a command or a url", "give exactly one of the two")]
    found: list[tuple[list[str | int], str, str]] = []
    if server.url is not None:
        given = (name for name in ("env", "env_from", "cwd") if getattr(server, name))
        found.extend(([name], "means nothing for a url", "it is for a command") for name in given)
    elif server.credential_env is not None:
        found.append((["credential_env"], "means nothing for a command", "hand the variable on with env_from"))
    return found


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "text"),
    ((list, tuple), "a list"), (Mapping, "a mapping"),
)  # fmt: skip


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    return next((word for kind, word in _KINDS if isinstance(value, kind)), type(value).__name__)


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "enum": "one of the four levels",
}

_PATTERNS = {
    LABEL: ("must be lower-case letters, digits and inner hyphens, at most 63", "as in invoice-clerk"),
    _VARIABLE: ("must be the name of an environment variable", "as in OPENAI_API_KEY"),
    _EMAIL: ("must be an e-mail address", "as in ada@example.com"),
    _TOOL: ("must be server/tool, one exact tool", "as in files/read_text_file; there is no * for all of them"),
}


def _fault(error: ErrorDetails, document: int) -> Fault:
    """pydantic's finding in our words."""
    parts = [part for part in error["loc"] if part != "[key]"]
    kind, context, given = error["type"], error.get("ctx", {}), error.get("input")
    problem, hint = error["msg"][:1].lower() + error["msg"][1:], ""
    if kind == "missing":
        problem, hint = "is missing", _described(parts)
    elif kind == "extra_forbidden":
        problem, hint = "is not known here", nearest(parts[-1], _fields(parts[:-1]))
    elif kind == "enum":
        problem, hint = f"is {_quoted(given)}", nearest(given, list(Autonomy))
    elif kind == "literal_error":
        problem, hint = f"is {_quoted(given)}", f"write {context.get('expected')}"
    elif kind == "string_pattern_mismatch":
        problem, hint = _PATTERNS.get(context.get("pattern", ""), (problem, ""))
    elif kind in _WANTED:
        problem = f"is {_kind(given)}, not {_WANTED[kind]}"
        hint = "put it in quotes" if kind == "string_type" and isinstance(given, (bool, int, float)) else ""
    elif kind in ("greater_than_equal", "less_than_equal"):
        bound = context.get("ge", context.get("le"))
        problem = f"is {_quoted(given)}, {'less' if 'ge' in context else 'more'} than {bound}"
    elif kind in ("too_long", "string_too_long"):
        problem = f"is longer than {context.get('max_length')}"
    elif kind in ("too_short", "string_too_short"):
        problem = "is empty" if context.get("min_length") == 1 else f"is shorter than {context.get('min_length')}"
    return Fault(path_of(parts), problem, hint, document)


def _quoted(value: Any) -> str:
    text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else _kind(value)
    if isinstance(value, str):
        text = "a secret" if _SECRET.search(value) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _model_at(parts: list[str | int]) -> type[BaseModel] | None:
    """The class that describes the value at a path."""
    here: type[BaseModel] | None = Manifest
    skip = False
    for part in parts:
        if isinstance(part, int) or skip:
            skip = False
            continue
        field = None if here is None else next(
            (info for name, info in here.model_fields.items() if part in (name, info.alias)), None
        )  # fmt: skip
        if field is None:
            return None
        here, skip = _class_in(field.annotation), part == "servers"
    return here


def _class_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _class_in(part))), None)


def _fields(parts: list[str | int]) -> list[str]:
    model = _model_at(parts)
    return [] if model is None else [info.alias or name for name, info in model.model_fields.items()]


def _described(parts: list[str | int]) -> str:
    model = _model_at(parts[:-1])
    for name, info in model.model_fields.items() if model else ():
        if parts[-1] in (name, info.alias):
            return info.description or ""
    return ""
