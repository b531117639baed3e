"""Templates and their links: policies with a gap for whom or what they are about, and the file that fills it.

A policy with ``?principal`` or ``?resource`` in its scope is a template: by itself it decides nothing. Beside it,
``NAME.links.json`` in Cedar's own form makes policies of it::

    {"templateLinks": [
      {"templateId": "refund-limit", "newId": "clerk-refunds",
       "values": {"?principal": {"type": "Agent", "id": "clerk"},
                  "?resource": {"type": "Tool", "id": "shop/refund"}}}
    ]}

``templateId`` is the template's ``@id``, ``newId`` the id of the policy that this makes; an entity may also be written
as ``{"__entity": {"type": ..., "id": ...}}``. Cedar fills the template, and what it makes is a policy like any other:
it has the template's effect, conditions and annotations. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import cedarpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenure.base.documents import Document, read_documents
from tenure.base.faults import FileFault, in_file, path_of
from tenure.kernel.errors import Refused

SUFFIX = ".links.json"
MAX_LINKS = 10_000
_LITERAL = "policy0"
"""What Cedar calls the one template of a text."""
_SHAPES = ("_Uid", "_Entity")

Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Gap = Literal["?principal", "?resource"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class _Uid(_Part):
    type: Name
    id: Name


class _Entity(_Part):
    entity: _Uid = Field(alias="__entity")


class _Link(_Part):
    template: Name = Field(alias="templateId")
    id: Name = Field(alias="newId")
    values: dict[Gap, _Uid | _Entity] = Field(min_length=1)


class _File(_Part):
    links: list[_Link] = Field(alias="templateLinks", min_length=1, max_length=MAX_LINKS)


@dataclass(frozen=True, slots=True)
class Link:
    """One link and where it stands (``line`` counts from 1). ``values``: type and id of what fills each gap."""

    file: str
    line: int
    template: str
    id: str
    values: Mapping[Gap, tuple[str, str]]

    @property
    def filled(self) -> tuple[tuple[str, str], ...]:
        """Each gap and what fills it, in words, in their order."""
        return tuple((gap, f'{kind}::"{ident}"') for gap, (kind, ident) in sorted(self.values.items()))


def is_links(name: str) -> bool:
    """Whether a file of that name holds links of templates."""
    return name.endswith(SUFFIX)


def read_links(files: Sequence[tuple[str, str]]) -> tuple[tuple[Link, ...], tuple[FileFault, ...]]:
    """The links in those of ``files`` ((name, text) each) that hold some, and every fault in them."""
    links: list[Link] = []
    faults: list[FileFault] = []
    for name, text in files:
        if is_links(name):
            _read(name, text, links, faults)
    if len(links) > MAX_LINKS:
        faults.append(FileFault(links[MAX_LINKS].file, links[MAX_LINKS].line, f"more than {MAX_LINKS} links"))
    return tuple(links), tuple(faults)


def _read(name: str, text: str, links: list[Link], faults: list[FileFault]) -> None:
    try:
        json.loads(text)  # what Cedar's own tools read; YAML, which is read next for the lines, allows more
        document = read_documents(text, name)[0]
    except json.JSONDecodeError as error:
        faults.append(FileFault(name, min(error.lineno, text.count("\n") + 1), f"is not JSON: {error.msg}"))
        return
    except RecursionError:
        faults.append(FileFault(name, 1, "is nested too deeply"))
        return
    except Refused as refused:
        faults += in_file(refused, name)
        return
    try:
        file = _File.model_validate(document.value)
    except ValidationError as error:
        faults += [_fault(document, item["loc"], item["msg"]) for item in error.errors(include_url=False)]
        return
    links += [
        Link(
            name,
            document.line_of(f"templateLinks[{index}]"),
            link.template,
            link.id,
            {gap: _uid(value) for gap, value in link.values.items()},
        )
        for index, link in enumerate(file.links)
    ]


def _uid(value: _Uid | _Entity) -> tuple[str, str]:
    uid = value.entity if isinstance(value, _Entity) else value
    return uid.type, uid.id


def _fault(document: Document, where: Sequence[str | int], problem: str) -> FileFault:
    path = path_of([part for part in where if part not in _SHAPES and part != "[key]"])
    return FileFault(document.file, document.line_of(path), f"{path or 'the file'}: {problem}")


def fill(text: str, link: Link) -> str:
    """The policy that ``link`` makes of the template ``text``, as Cedar writes it. Raises ValueError with Cedar's words
    where the gaps of the template and the values are not the same, or a value is no entity."""
    values: dict[str, Any] = {gap: {"type": kind, "id": ident} for gap, (kind, ident) in link.values.items()}
    return str(cedarpy.PolicySet.from_str(text).with_linked(_LITERAL, "link", values))
