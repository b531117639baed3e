"""Reads a manifest: every fault is found, not only the first, and nothing is guessed from the wrong kind of value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tenure.base.faults import Fault, nearest, path_of
from tenure.kernel.naming import exposed_name
from tenure.kernel.values import Autonomy
from tenure.registry.faults import refuse
from tenure.registry.fields import EMAIL, FINGERPRINT, HOST, LABEL, MEDIA, PREFIX, SKILL, TOOL, VARIABLE
from tenure.registry.manifest import API_VERSION, Manifest, Server, Spec
from tenure.registry.upstreams import DEFAULT_URL, Model

MAX_DEPTH = 32

_SECRET = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+)|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_SECRET_NAME = re.compile(r"(?i)(^|_)(api_?key|key|token|secret|password|passwd|credentials?)$")


def read_manifest(value: Any, *, document: int = 0) -> Manifest:
    """The manifest that ``value`` (JSON) is. Raises Refused ``invalid_manifest`` whose details hold every fault."""
    faults = _unfit(value, [], document)
    if not faults:
        try:
            manifest = Manifest.model_validate(_with_known_addresses(value))
        except ValidationError as error:
            faults = [_fault(item, document) for item in error.errors(include_url=False)]
            faults += _secrets(value, document)
        else:
            faults = _secrets(value, document) + _contradictions(manifest, document)
            if not faults:
                return manifest
    raise refuse(sorted(faults, key=lambda fault: fault.path))


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
            url = DEFAULT_URL.get(model["provider"])
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


_KEEP_OUT = "keep it with `tenure secrets put` and name it in credential_secret or env_secrets"


def _secret_settings(value: Any, document: int) -> list[Fault]:
    spec = value.get("spec")
    servers = spec.get("servers") if isinstance(spec, Mapping) else None
    faults = []
    for name, server in servers.items() if isinstance(servers, Mapping) else ():
        env = server.get("env") if isinstance(server, Mapping) else None
        for key, item in env.items() if isinstance(env, Mapping) else ():
            if _SECRET_NAME.search(key) and isinstance(item, str) and item and not _SECRET.search(item):
                path = path_of(["spec", "servers", name, "env", key])
                faults.append(
                    Fault(path, "is named like a secret", f"name a secret for {key} in env_secrets instead", document)
                )
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
    found += _meeting_names(spec)
    found += _model_faults(spec)
    for index, dependency in enumerate(spec.dependencies):
        where: list[str | int] = ["spec", "dependencies", index]
        if (dependency.agent is None) == (dependency.system is None):
            found.append((where, "must name either an agent or a system", "give exactly one of the two"))
        elif dependency.agent == manifest.metadata.name:
            found.append(([*where, "agent"], "makes the agent depend on itself", "remove it"))
    found += _agent_faults(manifest)
    return [Fault(path_of(path), problem, hint, document) for path, problem, hint in found]


def _agent_faults(manifest: Manifest) -> list[tuple[list[str | int], str, str]]:
    """What cannot be meant of the agents it calls, and of how it is called."""
    spec = manifest.spec
    found: list[tuple[list[str | int], str, str]] = []
    seen: set[str] = set()
    for index, peer in enumerate(spec.agents):
        where: list[str | int] = ["spec", "agents", index, "name"]
        if peer.name == manifest.metadata.name:
            found.append((where, "lets the agent call itself", "remove it"))
        elif peer.name in seen:
            found.append((where, f"grants {peer.name} a second time", "keep one of the two"))
        seen.add(peer.name)
    served = spec.a2a
    if served is not None:
        if served.url is None and served.rest_url is None:
            found.append((["spec", "a2a"], "has neither a url nor a rest_url", "say where it serves A2A"))
        for path, what, hint in _credential_faults(served, "credential_env", "credential_secret"):
            found.append((["spec", "a2a", *path], what, hint))
        skills = [skill.id for skill in served.skills]
        for index, skill in enumerate(skills):
            if skill in skills[:index]:
                found.append((["spec", "a2a", "skills", index, "id"], f"lists {skill} a second time", "remove it"))
    return found


def _meeting_names(spec: Spec) -> list[tuple[list[str | int], str, str]]:
    """Grants that the agent would see under one name, and grants given twice."""
    found: list[tuple[list[str | int], str, str]] = []
    prompts: list[tuple[list[str | int], str]] = []
    for server, declared in spec.servers.items():
        for what in ("resources", "prompts", "asks"):
            given = getattr(declared, what)
            for index, item in enumerate(given):
                where: list[str | int] = ["spec", "servers", server, what, index]
                if item in given[:index]:
                    found.append((where, f"lists {item} a second time", "remove it"))
                elif what == "prompts":
                    prompts.append((where, f"{server}/{item}"))
    tools: list[tuple[list[str | int], str]] = [
        (["spec", "tools", index, "name"], tool.name) for index, tool in enumerate(spec.tools)
    ]
    for grants in (tools, prompts):
        taken: dict[str, str] = {}
        for path, grant in grants:
            server, _, name = grant.partition("/")
            owner = spec.servers.get(server)
            seen = exposed_name(server, name, owner.prefix if owner else None)
            other = taken.setdefault(seen, grant)
            if other != grant:
                found.append(
                    (path, f"would be seen as {seen}, as {other} is", "give one of the servers another prefix")
                )
    return found


def _model_faults(spec: Spec) -> list[tuple[list[str | int], str, str]]:
    """Models that would be asked for by one name, and fallbacks that lead nowhere or to an API that cannot be meant."""
    found: list[tuple[list[str | int], str, str]] = []
    models: dict[tuple[str | int, ...], Model] = {("spec", "model"): spec.model}
    models |= {("spec", "models", at): model for at, model in enumerate(spec.models)}
    known: dict[str, Model] = {}
    for place, model in models.items():
        if model.asked in known:
            what, hint = f"lists {model.asked} a second time", "remove it, or give one of the two an alias"
            found.append(([*place, "alias" if model.alias else "name"], what, hint))
        known.setdefault(model.asked, model)
    for place, model in models.items():
        for path, what, hint in _credential_faults(model, "credential_env", "credential_secret"):
            found.append(([*place, *path], what, hint))
        if model.alias and any(other.alias and other.name == model.alias for other in models.values()):
            what = f"is also the name of a model: who asks for {model.alias} could mean either"
            found.append(([*place, "alias"], what, "choose another alias"))
        for at, name in enumerate(model.fallbacks):
            where: list[str | int] = [*place, "fallbacks", at]
            other = known.get(name)
            if other is None:
                hint = nearest(name, known) or "list it in spec.models"
                found.append((where, f"names the model {name}, which is not declared", hint))
            elif other is model or name in model.fallbacks[:at]:
                found.append((where, f"names {name} a second time", "remove it"))
            elif other.spoken != model.spoken:
                what = f"names {name}, which speaks the {other.spoken} API and not {model.spoken}"
                hint = f"requests are not translated: name a model that speaks {model.spoken}, or set its wire"
                found.append((where, what, hint))
    return found


def _server_faults(server: Server) -> list[tuple[list[str | int], str, str]]:
    if (server.command is not None) + (server.url is not None) + (server.in_process is not None) != 1:
        return [([], "must have either a command or a url", "give exactly one of the two, or in_process: true")]
    found: list[tuple[list[str | int], str, str]] = []
    if server.in_process is not None:
        given = (name for name in type(server).model_fields if name != "in_process" and getattr(server, name))
        return [([name], "means nothing for tools of the agent's own process", "leave it out") for name in given]
    if server.url is not None:
        given = (name for name in ("env", "env_from", "env_secrets", "cwd", "sandbox") if getattr(server, name))
        found.extend(([name], "means nothing for a url", "it is for a command") for name in given)
        return found + _credential_faults(server, "credential_env", "credential_secret", "connector")
    if server.credential_env is not None:
        found.append((["credential_env"], "means nothing for a command", "hand the variable on with env_from"))
    if server.credential_secret is not None:
        found.append((["credential_secret"], "means nothing for a command", "name a variable for it in env_secrets"))
    if server.connector is not None:
        found.append((["connector"], "means nothing for a command", "it is for a url"))
    twice = [name for name in server.env_secrets if name in server.env or name in server.env_from]
    return found + [(["env_secrets", name], "sets a variable a second time", "keep one of the two") for name in twice]


def _credential_faults(part: BaseModel, *names: str) -> list[tuple[list[str | int], str, str]]:
    """More than one credential for one place."""
    given = [name for name in names if getattr(part, name) is not None]
    return [([name], f"goes to the same place as {given[0]}", "keep one of the two") for name in given[1:]]


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
    VARIABLE: ("must be the name of an environment variable", "as in OPENAI_API_KEY"),
    EMAIL: ("must be an e-mail address", "as in ada@example.com"),
    PREFIX: ("must be at most 32 letters, digits, _ and -", 'as in crm_, or "" for none'),
    FINGERPRINT: ("must be the fingerprint of a definition", "as `tenure tools show` prints it"),
    HOST: ("must be a host, with a port if it is not the usual one", "as in hooks.example.com or 127.0.0.1:9010"),
    MEDIA: ("must be a media type in lower case", "as in text/plain"),
    SKILL: ("must be at most 64 letters, digits, _, - and .", "as in refund"),
    TOOL: ("must be server/tool, one exact tool", "as in files/read_text_file; there is no * for all of them"),
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
