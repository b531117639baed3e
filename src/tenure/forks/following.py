"""How a fork goes on from what its model has answered so far: which tools are answered from the record, what people say
next, and where it ends. Pure: the same answers always lead to the same place, so nothing of it need be kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tenure.forks.model import State
from tenure.forks.record import Answer, Course, calls_of, text_of, with_ids
from tenure.kernel.json import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one tool call. ``how``: ``record``, ``again`` (the record's, a further time), ``stand-in``, or
    ``none``. ``of``: the recorded answer, None where there is none."""

    call: str
    name: str
    arguments: Json
    response: Json
    how: str
    of: Answer | None = None


@dataclass(frozen=True, slots=True)
class Following:
    """``messages`` go into the model next, unless it is over: ``end`` then says why. ``replies`` are to the tool calls
    of the last answer."""

    messages: tuple[JsonObject, ...]
    replies: tuple[Reply, ...] = ()
    end: tuple[State, str] | None = None


class _Record:
    """What is left of the record."""

    def __init__(self, course: Course, stand_in: str | None) -> None:
        self._left = list(course.answers)
        self._every = [*course.earlier, *course.answers]
        self._stand_in = stand_in

    def reply(self, call: JsonObject) -> Reply:
        """Answers one tool call: by the next recorded call that is equal and was not used, else by the last equal one
        at all, else by what stands in."""
        name, given = str(call.get("name") or ""), call.get("arguments")
        told = (str(call.get("id") or ""), name, given)
        wanted = Answer(name, given, None).key
        place = next((n for n, one in enumerate(self._left) if one.key == wanted), None)
        if place is not None:
            found = self._left.pop(place)
            return Reply(*told, found.response, "record", found)
        again = next((one for one in reversed(self._every) if one.key == wanted), None)
        if again is not None:
            return Reply(*told, again.response, "again", again)
        return Reply(*told, self._stand_in, "none" if self._stand_in is None else "stand-in")


def follow(course: Course, answers: Sequence[JsonObject], *, stand_in: str | None, go_on: bool) -> Following:
    """What comes after ``answers`` of the model, the first of them to ``course`` as it begins."""
    record, said, messages = _Record(course, stand_in), list(course.said), list(course.messages)
    replies: list[Reply] = []
    for said_then in answers:
        answer = with_ids([*messages, said_then])[-1]
        replies = [record.reply(call) for call in calls_of(answer)]
        messages.append({"role": "assistant", "parts": answer.get("parts") or []})
        if lacking := [reply for reply in replies if reply.how == "none"]:
            return Following(tuple(messages), tuple(replies), (State.DIVERGED, _no_answer(lacking)))
        messages += _responses(replies)
        if replies:
            continue
        if not said:
            return Following(tuple(messages), (), (State.FINISHED, "The model came to its end."))
        following = said.pop(0)
        if not go_on and following.to.strip() != text_of(answer).strip():
            why = "The model answered otherwise, and what the person said next was to another answer."
            return Following(tuple(messages), (), (State.FINISHED, why))
        messages.append(following.message)
    return Following(tuple(messages), tuple(replies))


def _responses(replies: Iterable[Reply]) -> list[JsonObject]:
    return [
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": reply.call, "response": reply.response}]}
        for reply in replies
    ]


def _no_answer(lacking: Sequence[Reply]) -> str:
    names = ", ".join(dict.fromkeys(reply.name for reply in lacking))
    return f"The record has no answer for {names} with these arguments."
