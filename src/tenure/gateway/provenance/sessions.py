"""What each session has met, within bounds, and what that says of a call. What was forgotten, or never seen, counts as
not trusted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tenure.base.scan.texts import look
from tenure.gateway.provenance.overlap import compact_of, elements, normalised, plain_key, readings, stands_in
from tenure.gateway.provenance.pieces import Piece
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Origin

TEXT_MAX = 256 << 10
"""Characters of normalised text that are kept of a session, trusted and not trusted each."""
SESSIONS_MAX, CHARACTERS_MAX = 4096, 64 << 20
"""Sessions and characters that a gateway keeps."""
ELEMENTS_MAX = 512
"""Things that are looked for in the arguments of one call."""
_PIECES_MAX, _DEPTH_MAX = 10_000, 64
_PASTED = 12  # words running of what is not trusted make a message a copy of it
_SHOWN, _NOTES = 60, 10


@dataclass(slots=True)
class Session:
    """What one session has met. ``seen``: its beginning was seen here, or told since; ``unread``: something was met
    that cannot be read or was more than is kept, so that no argument is surely free of it."""

    sources: set[str] = field(default_factory=set)
    tainted: bool = False
    seen: bool = False
    unread: str = ""
    trusted: str = ""
    untrusted: str = ""
    _starts: list[int] = field(default_factory=list)
    _labels: list[str] = field(default_factory=list)
    _known: set[int] = field(default_factory=set)
    _pending: list[Piece] = field(default_factory=list)
    _waiting: int = 0

    def __len__(self) -> int:
        return len(self.trusted) + len(self.untrusted) + self._waiting

    def meet(self, piece: Piece) -> None:
        """Takes a piece. Texts are read only when they are asked about."""
        key = hash((piece.source, piece.trusted, piece.label, piece.text, piece.unread))
        if key in self._known:
            return
        if len(self._known) >= _PIECES_MAX:
            self._known.clear()  # what is met again is then read again, and fills what is kept: the safe side
        self._known.add(key)
        self.sources.add(piece.source)
        if not piece.trusted:
            self.tainted = True
            if piece.unread:
                self.unread = self.unread or f"{piece.label} holds what is not read here"
        if piece.text:
            self._pending.append(piece)
            self._waiting += len(piece.text)
            if self._waiting > TEXT_MAX:
                self._read()

    def _read(self) -> None:
        pending, self._pending, self._waiting = self._pending, [], 0
        for piece in pending:
            # A text grows by little when it is normalised; what is cut off of it here would not be kept either.
            text = readings(piece.text[: TEXT_MAX + 1])
            if piece.trusted and not self._pasted(text):
                if len(self.trusted) + len(text) <= TEXT_MAX:
                    self.trusted += text + "|"
            elif len(self.untrusted) + len(text) <= TEXT_MAX and len(piece.text) <= TEXT_MAX:
                self.tainted = True
                self._starts.append(len(self.untrusted))
                self._labels.append(piece.label)
                self.untrusted += text + "|"
            else:
                self.tainted = True
                self.unread = self.unread or "more was met than is kept here"

    def _pasted(self, text: str) -> bool:
        """Whether a text repeats a stretch of what is not trusted: then it is not its speaker's own. Looking at every
        sixth beginning finds any stretch of 12 words and 5 more."""
        words = text.split() if self.untrusted else []
        return any(
            f" {' '.join(words[at : at + _PASTED])} " in self.untrusted
            for at in range(0, len(words) - _PASTED + 1, _PASTED // 2)
        )

    def origin(self, arguments: JsonObject, look: bool) -> Origin:
        """What is known of a call with these arguments; where ``look`` is false, not which of them are taken from
        what."""
        sources = self.sources if self.seen else self.sources | {"unknown"}
        tainted = self.tainted or not self.seen
        if not look or not tainted:
            return Origin(tainted, tuple(sorted(sources)))
        self._read()
        why = "" if self.seen else "what this session met before was not seen here"
        paths, notes = _taken(self, arguments, self.unread or why)
        return Origin(self.tainted or not self.seen, tuple(sorted(sources)), bool(paths), paths, notes)

    def label_at(self, place: int) -> str:
        """What the untrusted text at ``place`` came from."""
        return self._labels[bisect_right(self._starts, place) - 1]


def _taken(session: Session, arguments: JsonObject, unsure: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paths of arguments that are taken from what is not trusted, and how that is known. ``unsure``: why it cannot
    be ruled out of any; then all count that the trusted texts do not hold."""
    packed: list[str] = []  # without spaces, made once it is wanted
    paths: list[str] = []
    notes: list[str] = []
    looked = 0
    for path, value in _values(arguments):
        if unsure:
            why = "" if _vouched(session, value) else f"{path}: {unsure}"
        else:
            wanted = elements(value)
            room, looked = max(0, ELEMENTS_MAX - looked), looked + len(wanted)
            found = next(filter(None, (_found(session, one, packed) for one in wanted[:room])), None)
            # What the scanner knows is not quoted: without its marks it would not know it again, and leave it in.
            quote = f"«{found[0]}» " if found and not look(value) else ""
            more = f"{path}: there is more in the arguments than is looked at" if len(wanted) > room else ""
            why = f"{path}: {quote}stands {found[1]}" if found else more
        if why:
            paths.append(path)
            notes.append(why)
    return tuple(sorted(set(paths))), tuple(notes[:_NOTES])


def _vouched(session: Session, value: str | float) -> bool:
    """Whether a trusted text holds all of a value."""
    if isinstance(value, str):
        words = normalised(value)
        return not words.strip() or words in session.trusted
    return any(stands_in(one, session.trusted) >= 0 for one in elements(value) or [(normalised(str(value)),)])


def _found(session: Session, element: tuple[str, ...], packed: list[str]) -> tuple[str, str] | None:
    """An element of an argument that was met and was not said by anybody trusted, and where it was met, in words."""
    at = stands_in(element, session.untrusted)
    close = compact_of(element) if at < 0 else ""
    if at < 0 and not close:
        return None
    if close and not packed:
        packed.append(session.untrusted.replace(" ", ""))
    if at < 0 and close not in packed[0]:
        return None
    if stands_in(element, session.trusted) >= 0 or (close and close in session.trusted.replace(" ", "")):
        return None
    where = f"in what {session.label_at(at)} gave" if at >= 0 else "in other spacing in what was met"
    return element[0].strip()[:_SHOWN], where


def _values(arguments: JsonObject) -> Iterable[tuple[str, str | float]]:
    """(path, value) of every text and number, and of names of fields that a program would not have chosen. Nested
    deeper than policies see, the rest counts as one text."""
    stack: list[tuple[str, Any, int]] = [("", arguments, 0)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, dict | list | tuple) and depth > _DEPTH_MAX:
            yield path, str(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                name = key if plain_key(key) else "*"  # what is content stands in no path
                below = f"{path}.{name}" if path else name
                if name == "*":
                    yield below, key
                stack.append((below, item, depth + 1))
        elif isinstance(value, list | tuple):
            stack.extend((f"{path}.{index}", item, depth + 1) for index, item in enumerate(value))
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield path, value


class Sessions:
    """The sessions of all agents. The one that was quiet for longest is forgotten first."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[tuple[str, ...], Session] = OrderedDict()
        self._characters = 0

    def meet(self, key: tuple[str, ...], pieces: Iterable[Piece], whole: bool = False) -> None:
        """A session met something. ``whole``: that is all that it has met so far."""
        with self._use(key) as session:
            for piece in pieces:
                session.meet(piece)
            session.seen = session.seen or whole

    def origin(self, key: tuple[str, ...], arguments: JsonObject, look: bool) -> Origin:
        """As ``Session.origin``; of a session of which nothing is known where there is none."""
        with self._use(key) as session:
            return session.origin(arguments, look)

    def standing(self, key: tuple[str, ...]) -> tuple[bool, bool]:
        """Whether a session has met what is not trusted, and whether its beginning was not seen."""
        with self._use(key) as session:
            return session.tainted, not session.seen

    @contextmanager
    def _use(self, key: tuple[str, ...]) -> Iterator[Session]:
        session = self._sessions.setdefault(key, Session())
        self._sessions.move_to_end(key)
        before = len(session)
        try:
            yield session
        finally:
            self._characters += len(session) - before
            while len(self._sessions) > SESSIONS_MAX or (self._characters > CHARACTERS_MAX and len(self._sessions) > 1):
                _, gone = self._sessions.popitem(last=False)
                self._characters -= len(gone)
