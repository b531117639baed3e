"""YAML files as values: YAML 1.2 core (and with it JSON) whose every value remembers its line.

Aliases, duplicate keys and tags are refused: each lets a file say something else than it seems to. The words yes, no,
on and off are text and numbers have one spelling, as YAML 1.2 has it and PyYAML's own resolver has not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tenure.base.faults import Fault, path_of, refuse

MAX_BYTES = 1 << 20
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file. ``lines`` maps the path of every value to the line it begins on."""

    value: Any
    file: str
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """The line of ``path``; of what encloses it when it is not in the file."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, self.line)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 (PyYAML's own class attribute, filled below)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])


def read_documents(text: str, file: str) -> list[Document]:
    """Every document of a file. Raises Refused with file and line of every fault."""
    faults: list[Fault] = []
    documents: list[Document] = []
    try:
        _check_shape(text, file)
        # In JSON a raw tab can only be white space between tokens; PyYAML would refuse it there.
        source = text.replace("\t", " ") if text.lstrip().startswith("{") else text
        for node in yaml.compose_all(source, Loader=_Loader):
            if node is not None:
                lines: dict[str, int] = {}
                value = _value(node, [], lines, file, faults)
                documents.append(Document(value, file, node.start_mark.line + 1, lines))
    except yaml.YAMLError as error:
        faults.append(_syntax(error, file))
    except ValueError as error:  # an integer of more digits than Python converts
        faults.append(Fault("", f"holds a value that cannot be read: {error}", file=file))
    documents = [document for document in documents if document.value is not None]
    if not documents and not faults:
        faults.append(Fault("", "is empty", file=file, line=1))
    if faults:
        raise refuse(faults, code="invalid_yaml", what=f"file {file}")
    return documents


def _check_shape(text: str, file: str) -> None:
    """What must be known before the text is taken apart further: its size, its depth, and that nothing is an alias."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise refuse(
            [Fault("", f"is larger than {MAX_BYTES} bytes", file=file)], code="invalid_yaml", what=f"file {file}"
        )
    depth = 0
    for event in yaml.parse(text.replace("\t", " ") if text.lstrip().startswith("{") else text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            fault = Fault("", f"uses the alias *{event.anchor}", "write the value out", file=file, line=line)
            raise refuse([fault], code="invalid_yaml", what=f"file {file}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            fault = Fault("", f"is nested deeper than {MAX_DEPTH} levels", file=file, line=line)
            raise refuse([fault], code="invalid_yaml", what=f"file {file}")


def _syntax(error: yaml.YAMLError, file: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "is not YAML"
    hint = ""
    if "\\t" in str(problem):
        hint = "indent with spaces"
    elif "mapping values are not allowed" in str(problem):
        hint = "quote text that contains a colon followed by a space"
    return Fault("", str(problem), hint, file=file, line=mark.line + 1 if mark else None)


def _value(node: yaml.Node, path: list[str | int], lines: dict[str, int], file: str, faults: list[Fault]) -> Any:
    lines.setdefault(path_of(path), node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_value(item, [*path, index], lines, file, faults) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        return dict(_entries(node, path, lines, file, faults))
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
        return _SCALARS[node.tag](node.value)
    line = node.start_mark.line + 1
    faults.append(Fault(path_of(path), f"carries the tag {node.tag}", "write plain YAML", file=file, line=line))
    return None


def _entries(
    node: yaml.MappingNode, path: list[str | int], lines: dict[str, int], file: str, faults: list[Fault]
) -> Iterator[tuple[str, Any]]:
    seen: dict[str, int] = {}
    for key, item in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            faults.append(Fault(path_of(path), "has a key that is not text", "use plain words", file=file, line=line))
            continue
        name = _text(key.value)
        here = [*path, name]
        if name in seen:
            hint = "keep one of the two"
            problem = f"is given twice, first on line {seen[name]}"
            faults.append(Fault(path_of(here), problem, hint, file=file, line=line))
            continue
        seen[name] = line
        lines[path_of(here)] = line
        yield name, _value(item, here, lines, file, faults)


def _text(value: str) -> str:
    """JSON spells characters beyond 16 bits as two escapes; PyYAML leaves them two halves."""
    if not any("\ud800" <= char <= "\udfff" for char in value):
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_SCALARS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:str": _text,
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:null": lambda _text: None,
}
