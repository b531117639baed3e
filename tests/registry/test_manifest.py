"""Manifests: read whole, or refused with every fault, its path and its line; never a crash."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenure.base.documents import Document, read_documents
from tenure.kernel.errors import Refused
from tenure.kernel.json import canonical
from tenure.registry.model import behaviour, declared_fact, manifest_schema, release_digest
from tenure.registry.reading import read_manifest
from tests.sim.manifests import RISK, manifest

URL = "http://127.0.0.1:1/v1"
WHOLE = manifest(
    "invoice-clerk",
    URL,
    goals=["Every invoice is recorded on the day it comes"],
    constraints=["Never pays without a person"],
    models=[{"provider": "openai", "name": "gpt-small"}],
    servers={
        "files": {
            "command": ["python", "-m", "files"],
            "env": {"MODE": "ro"},
            "env_from": ["FILES_KEY"],
            "cwd": "/srv",
        },
        "ledger": {"url": "https://ledger.example.com/mcp", "credential_env": "LEDGER_TOKEN"},
    },
    tools=[{"name": "files/read_file"}, {"name": "ledger/pay", "autonomy": "approve"}],
    budgets={"usd_per_day": 2.5, "calls_per_hour": 100, "tokens_per_day": 1_000_000},
    breaker={"threshold": 3, "window_s": 60},
    approvals={"hold_timeout_s": 30},
    dependencies=[{"agent": "ledger-reconciler"}, {"system": "SAP"}],
)


def changed(path: list[str | int], value: Any) -> Any:
    """The whole manifest with one value replaced; ``...`` removes it."""
    out = copy.deepcopy(WHOLE)
    here: Any = out
    for part in path[:-1]:
        here = here[part]
    if value is ...:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return out


def faults(value: Any) -> list[dict[str, Any]]:
    """What is wrong with a manifest."""
    with pytest.raises(Refused) as refusal:
        read_manifest(value)
    assert (refusal.value.code, refusal.value.status) == ("invalid_manifest", 422)
    return list(refusal.value.details["faults"])


@pytest.mark.req("R007", "R008")
@pytest.mark.req("R061")
def test_thresholds_reach_tools_agents_and_the_one_model_that_has_one() -> None:
    changed = manifest(
        "clerk",
        URL,
        models=[{"provider": "openai", "name": "gpt-small", "ask_below": 30}],
        servers={"s": {"command": ["x"]}},
        tools=[{"name": "s/a"}, {"name": "s/b", "ask_below": 80}],
        agents=[{"name": "billing"}, {"name": "mailer", "ask_below": 60}],
        approvals={"ask_below": 50},
    )
    fact = declared_fact("default", read_manifest(changed).as_json())
    assert [one.ask_below for one in fact.tools] == [50, 80]
    assert [one.ask_below for one in fact.agents] == [50, 60]
    assert [one.ask_below for one in fact.models] == [0, 30]


@pytest.mark.req("R025")
@pytest.mark.parametrize("wrong", [0, 5, "high", ...])
@pytest.mark.parametrize("dimension", RISK)
def test_each_of_the_four_dimensions_of_risk_is_said_and_has_four_levels(dimension: str, wrong: Any) -> None:
    assert [fault["path"] for fault in faults(changed(["spec", "risk", dimension], wrong))] == [
        f"spec.risk.{dimension}"
    ]


@pytest.mark.req("R033")
def test_the_predictive_model_behind_a_tool_is_part_of_the_release() -> None:
    def scored(version: str) -> dict[str, Any]:
        behind = {"registry": "mlflow", "name": "churn", "version": version}
        tools = [{"name": "s/score", "predicts_with": behind}]
        return manifest("clerk", URL, servers={"s": {"command": ["x"]}}, tools=tools)

    def digest_of(value: dict[str, Any]) -> str:
        return release_digest(behaviour("default", read_manifest(value).as_json()))

    assert digest_of(scored("3")) == digest_of(scored("3"))
    assert digest_of(scored("3")) != digest_of(scored("4")), "another version is another release, which is decided on"
    wrong = scored("3")
    del wrong["spec"]["tools"][0]["predicts_with"]["version"]
    [fault] = faults(wrong)
    assert fault["path"] == "spec.tools[0].predicts_with.version"


def test_a_whole_manifest_reads_back_as_itself() -> None:
    read = read_manifest(WHOLE)
    again = read_manifest(read.as_json())
    assert again == read
    assert again.as_json() == read.as_json()
    spec = read.as_json()["spec"]
    assert spec["budgets"]["usd_per_day"] == "2.50"
    assert spec["models"][0]["base_url"] == "https://api.openai.com/v1"
    assert spec["tools"][0]["autonomy"] == "autonomous"


FILES, LEDGER = ["spec", "servers", "files"], ["spec", "servers", "ledger"]
SK, GHP = "sk-abcdefghijklmnopqrstuvwx", "ghp_abcdefghijklmnopqrstuvwxyz012345"


@pytest.mark.parametrize(
    ("path", "value", "at", "problem", "hint"),
    [
        (["spec", "tools", 1, "autonomy"], "aprove", "spec.tools[1].autonomy", "is 'aprove'", "did you mean approve?"),
        (["spec", "tools", 1, "name"], "leger/pay", "spec.tools[1].name", "not declared", "did you mean ledger?"),
        (["spec", "tools", 0, "name"], "files/*", "spec.tools[0].name", "server/tool", "there is no *"),
        (["spec", "tools", 0, "name"], "ledger/pay", "spec.tools[1].name", "a second time", "keep one"),
        (["spec", "purpose"], ..., "spec.purpose", "is missing", "What it is for"),
        (["spec", "risk", "blast_radius"], ..., "spec.risk.blast_radius", "is missing", "1 one task"),
        (["spec", "risk", "blast_radius"], 5, "spec.risk.blast_radius", "more than 4", ""),
        (["spec", "risk", "blast_radius"], "2", "spec.risk.blast_radius", "text, not a whole number", ""),
        (["spec", "framework"], 3.1, "spec.framework", "a number, not text", "quotes"),
        (["spec", "framework"], "two\nlines", "spec.framework", "one line", ""),
        (["spec", "sponser"], "a@b.c", "spec.sponser", "not known here", "did you mean sponsor?"),
        (["spec", "model", "nam"], "x", "spec.model.nam", "not known here", "did you mean name?"),
        ([*LEDGER, "ur"], "x", "spec.servers.ledger.ur", "not known here", "did you mean url?"),
        ([*LEDGER, "command"], ["x"], "spec.servers.ledger", "either a command or a url", "one of"),
        ([*LEDGER, "cwd"], "/", "spec.servers.ledger.cwd", "nothing for a url", "command"),
        ([*FILES, "credential_env"], "K", "spec.servers.files.credential_env", "nothing", "env"),
        ([*LEDGER, "url"], "ftp://x/y", "spec.servers.ledger.url", "address such as", ""),
        ([*LEDGER, "url"], "https://u:p@x/y", "spec.servers.ledger.url", "credential", ""),
        ([*FILES, "env", "A_TOKEN"], "hunter2", "spec.servers.files.env.A_TOKEN", "secret", "env_secrets"),
        ([*FILES, "env", "X"], SK, "spec.servers.files.env.X", "secret", "credential_secret"),
        (["spec", "instructions"], f"use {GHP}", "spec.instructions", "secret", "credential_secret"),
        (["spec", "dependencies", 0, "agent"], "invoice-clerk", "spec.dependencies[0].agent", "on itself", "remove"),
        (["spec", "dependencies", 0, "system"], "x", "spec.dependencies[0]", "either an agent or", "exactly one"),
        (["spec", "owner"], "dana", "spec.owner", "e-mail address", "ada@example.com"),
        (["spec", "budgets", "usd_per_day"], "2.505", "spec.budgets.usd_per_day", "whole cents", ""),
        (["spec", "budgets", "usd_per_day"], -1, "spec.budgets.usd_per_day", "not negative", ""),
        (["spec", "budgets", "usd_per_day"], True, "spec.budgets.usd_per_day", "an amount", ""),
        (["spec", "purpose"], "bell \x07", "spec.purpose", "control characters", ""),
        (["spec", "purpose"], "half \ud800", "spec.purpose", "broken Unicode", ""),
        (["spec", "budgets", "calls_per_hour"], float("nan"), "spec.budgets.calls_per_hour", "finite", ""),
        (["metadata", "name"], "Invoice_Clerk", "metadata.name", "lower-case letters", "invoice-clerk"),
        (["metadata", "name"], "a" * 64, "metadata.name", "at most 63", ""),
        (["apiVersion"], "tenure/v2", "apiVersion", "is 'tenure/v2'", "tenure/v1"),
        (["kind"], "Agnt", "kind", "is 'Agnt'", "Agent"),
        (["spec"], ["x"], "spec", "a list, not a mapping", ""),
    ],
)  # fmt: skip
def test_a_fault_says_where_what_and_what_would_be_right(
    path: list[str | int], value: Any, at: str, problem: str, hint: str
) -> None:
    found = faults(changed(path, value))
    mine = [fault for fault in found if fault["path"] == at]
    assert mine, found
    assert any(problem in fault["problem"] and hint in fault["hint"] for fault in mine), mine
    assert "sk-abcdef" not in json.dumps(found)
    assert "ghp_abcdef" not in json.dumps(found)


def test_every_fault_is_told_and_not_only_the_first() -> None:
    broken = changed(["spec", "owner"], "nobody")
    broken["spec"]["risk"]["blast_radius"] = 0
    broken["metadata"]["name"] = "No"
    assert {fault["path"] for fault in faults(broken)} == {"metadata.name", "spec.owner", "spec.risk.blast_radius"}


@pytest.mark.parametrize("value", [None, [], "text", 3, {}, {"spec": {}}, {1: 2}, {"a": {"b": [{}] * 3}}])
def test_what_is_no_manifest_at_all(value: Any) -> None:
    assert faults(value)


def paths(value: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where every value of a manifest is."""
    if isinstance(value, dict):
        inner = [path for key, item in value.items() for path in paths(item, (*here, key))]
    elif isinstance(value, list):
        inner = [path for index, item in enumerate(value) for path in paths(item, (*here, index))]
    else:
        inner = []
    return [here, *inner] if here else inner


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(paths(WHOLE)), JSON | st.just(...)), min_size=1, max_size=3))
def test_any_mutation_reads_or_is_refused_with_paths(mutations: list[tuple[tuple[str | int, ...], Any]]) -> None:
    value: Any = copy.deepcopy(WHOLE)
    for path, new in mutations:
        try:
            here = value
            for part in path[:-1]:
                here = here[part]
            if new is ...:
                del here[path[-1]]
            else:
                here[path[-1]] = new
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation removed the place
    refused: Refused | None = None
    try:
        read = read_manifest(value)
    except Refused as error:
        refused = error
    if refused is None:
        assert read_manifest(read.as_json()) == read
        assert canonical(read.as_json())
    else:
        assert refused.details["faults"]
        assert all(fault["path"] and fault["problem"] for fault in refused.details["faults"])
        json.dumps(refused.details)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_any_json_at_all_reads_or_is_refused(value: Any) -> None:
    with pytest.raises(Refused):
        read_manifest(value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="abc:-[]{}&*!|>'\"#%@`,?\n\t 01.~<\\ux\u00e9\ud800\x00", max_size=60))
def test_any_text_is_yaml_or_refused_with_its_file(text: str) -> None:
    refused: Refused | None = None
    try:
        assert read_documents(text, "agent.yaml")
    except Refused as error:
        refused = error
    if refused is not None:
        assert refused.code == "invalid_yaml"
        assert all(fault["file"] == "agent.yaml" and fault["problem"] for fault in refused.details["faults"])


# DEL is the one character that JSON may hold raw, YAML may not, and a manifest refuses anyway.
PRINTABLE = st.text(st.characters(exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        PRINTABLE, st.recursive(st.none() | st.booleans() | st.integers() | PRINTABLE, st.lists),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_json_reads_as_json(value: Any) -> None:
    for text in (json.dumps(value, indent="\t"), json.dumps(value)):
        (document,) = read_documents(text, "agent.json")
        assert document.value == value


def line_of(text: str, path: str) -> int:
    """The line that a path of a YAML text is on."""
    return read_documents(text, "agent.yaml")[0].line_of(path)


def test_every_path_has_its_line() -> None:
    text = (
        "apiVersion: tenure/v1\nspec:\n  tools:\n    - name: a/b\n      autonomy: nope\n"
        "    - {name: c/d,\n       autonomy: x}\n"
    )
    assert line_of(text, "spec.tools[0].autonomy") == 5
    assert line_of(text, "spec.tools[1].autonomy") == 7
    assert line_of(text, "spec.tools[1].missing") == 6
    assert line_of(text, "metadata.name") == 1
    second = read_documents("a: 1\n---\nb:\n  c: 2\n", "f")[1]
    assert (second.line_of("b.c"), second.line_of("nowhere")) == (4, 3)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", 4, "given twice, first on line 3"),
        ("a: &x [1]\nb: *x\n", 2, "uses the alias *x"),
        ("a: !!python/object:os.system x\n", 1, "carries the tag"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a:\n\t- b\n", 2, "cannot start any token"),
        ("", 1, "is empty"),
        ("---\n---\n", 1, "is empty"),
        ("? [a]\n: b\n", 1, "a key that is not text"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested deeper"),
        ("a: " + "x" * (1 << 20), None, "is larger than"),
    ],
)  # fmt: skip
def test_the_pitfalls_of_yaml_are_refused_with_their_line(text: str, line: int | None, problem: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_documents(text, "agent.yaml")
    (fault,) = refusal.value.details["faults"]
    assert (fault["file"], fault["line"]) == ("agent.yaml", line)
    assert problem in fault["problem"]


def test_yaml_says_what_it_seems_to_say() -> None:
    text = "a: no\nb: 012\nc: 12:30:00\nd: 2026-01-01\ne: 1e3\nf: true\ng: ~\nh: .inf\ni: 0x10\nj: 1_000\n"
    (document,) = read_documents(text, "f")
    assert document.value == {
        "a": "no", "b": 12, "c": "12:30:00", "d": "2026-01-01", "e": 1000.0, "f": True, "g": None, "h": ".inf",
        "i": "0x10", "j": "1_000",
    }  # fmt: skip
    assert isinstance(document, Document)


def test_the_published_schema_is_the_manifest() -> None:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(dict(schema))
    validator = jsonschema.Draft202012Validator(dict(schema))
    validator.validate(read_manifest(WHOLE).as_json())
    validator.validate(yaml.safe_load(yaml.safe_dump(changed(["spec", "models"], []))))
    for path, value in ((["spec", "owner"], 3), (["spec", "risk", "blast_radius"], 9), (["metadata", "name"], "No")):
        assert list(validator.iter_errors(changed(list(path), value)))


@pytest.mark.req("R207")
def test_a_release_is_named_by_all_that_decides_behaviour() -> None:
    def digest(value: Any) -> str:
        return release_digest(behaviour("default", read_manifest(value).as_json()))

    same = [["spec", "owner"], ["spec", "sponsor"]]
    assert {digest(changed(list(path), "new@example.com")) for path in same} == {digest(WHOLE)}
    assert digest(changed(["spec", "budgets", "usd_per_day"], "2.50")) == digest(WHOLE)
    other = [
        changed(["spec", "purpose"], "Other words"),
        changed(["spec", "instructions"], "Do more"),
        changed(["spec", "tools", 0, "autonomy"], "notify"),
        changed(["spec", "risk", "blast_radius"], 4),
        changed([*FILES, "cwd"], "/"),
        changed(["metadata", "name"], "other"),
    ]
    assert len({digest(value) for value in [WHOLE, *other]}) == 7
