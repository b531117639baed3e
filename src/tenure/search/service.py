"""The verbs of search: what there is to find, finding it, and keeping vectors of it."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from urllib.parse import quote

from sqlalchemy.engine import Connection

from tenure.base.access import Thing, may, permit
from tenure.base.room import World
from tenure.kernel.errors import Failed, Refused
from tenure.kernel.values import Actor, LifecycleState
from tenure.policy import service as policy
from tenure.policy.model import compile_bundle
from tenure.registry import service as registry
from tenure.registry.model import AgentRecord
from tenure.search import embedding, store
from tenure.search.model import MAX_QUERY, MOST, Document, Found, Kind, fused, nearest
from tenure.search.words import by_words
from tenure.tools import service as tools

_NEEDS = {Kind.AGENT: "agents:read", Kind.TOOL: "tools:read", Kind.POLICY: "policies:read"}
_GONE = frozenset({LifecycleState.RETIRED, LifecycleState.REJECTED})
_ASKED_S = 3.0
"""Seconds that a person waits for the vector of a question before words have to do."""


def search(
    world: World, actor: Actor, question: str, *, kinds: Collection[Kind] = tuple(Kind), limit: int = 20
) -> Found:
    """What of the actor's workspace is about ``question``: by words, and by meaning where an endpoint is set and
    answers in time. Only of what the actor may read. Raises Refused (403, 422)."""
    permit(actor, "agents:read", Thing())
    asked = question.strip()
    if not asked or len(asked) > MAX_QUERY:
        problem = "There is nothing to look for." if not asked else "That is too much to look for at once."
        raise Refused("bad_question", problem, fix=f"Ask in up to {MAX_QUERY} characters.", status=422)
    wanted = {kind for kind in kinds if may(actor, _NEEDS[kind])}
    with world.read() as conn:
        documents = tuple(one for one in _documents(conn, actor.workspace) if one.kind in wanted)
        known = store.vectors(conn, actor.workspace, world.config.embeddings_model) if world.config.embeddings else {}
    found = by_words(documents, asked)
    if not world.config.embeddings:
        return Found(fused(found, (), min(limit, MOST)), meaning=False)
    try:
        [vector] = embedding.vectors_of(world.config, [asked], _ASKED_S)
    except Failed as error:
        return Found(fused(found, (), min(limit, MOST)), meaning=False, problem=error.message)
    near = nearest(vector, known, documents) if vector else []
    return Found(fused(found, near, min(limit, MOST)), meaning=True)


# -- what there is ----------------------------------------------------------------------------------------------------


def _documents(conn: Connection, workspace: str) -> list[Document]:
    agents = [one for one in registry.list_agents(conn, workspace) if one.state not in _GONE]
    described = tools.descriptions(conn, workspace)
    reached: dict[str, list[str]] = {name: [] for name in described}
    for agent in agents:
        for tool in _tools(agent):
            reached.setdefault(tool, []).append(agent.name)
    written = policy.policies_of(policy.running(conn, workspace))
    return [
        *map(_agent, agents),
        *(_tool(name, described.get(name, ""), users) for name, users in sorted(reached.items())),
        *_policies(written),
    ]


def _tools(agent: AgentRecord) -> list[str]:
    listed = agent.manifest.get("spec", {}).get("tools") or []
    return [str(one.get("name", "")) for one in listed if isinstance(one, dict)]


def _agent(agent: AgentRecord) -> Document:
    spec = agent.manifest.get("spec", {})
    model = spec.get("model") or {}
    text = "\n".join(
        str(part)
        for part in (
            spec.get("instructions", ""),
            f"{agent.state} {agent.framework} owner {agent.owner} sponsor {agent.sponsor} tier {agent.risk_tier}",
            f"{model.get('provider', '')} {model.get('name', '')}" if isinstance(model, dict) else "",
            " ".join(_tools(agent)),
            " ".join(map(str, spec.get("data_classes") or ())),
        )
        if part
    )
    return Document(Kind.AGENT, agent.name, str(spec.get("purpose", "")), text, f"/agents/{quote(agent.name)}")


def _tool(name: str, description: str, users: list[str]) -> Document:
    about = description.partition("\n")[0][:300]
    text = f"{description}\ngranted to {' '.join(users)}" if users else description
    return Document(Kind.TOOL, name, about, text, f"/tools?q={quote(name, safe='')}")


@lru_cache(maxsize=16)  # by what the files say: what is compiled once need not be for each question
def _policies(files: tuple[tuple[str, str], ...]) -> tuple[Document, ...]:
    lines = {name: text.splitlines() for name, text in files}
    rules = compile_bundle(files).rules
    starts = sorted((rule.file, rule.line) for rule in rules)
    found = []
    for rule in rules:
        later = [line for file, line in starts if file == rule.file and line > rule.line]
        said = "\n".join(lines.get(rule.file, [])[rule.line - 1 : (min(later) - 1) if later else None])
        found.append(Document(Kind.POLICY, rule.id, rule.reason, said, "/policies"))
    return tuple(found)


# -- vectors ----------------------------------------------------------------------------------------------------------


def lacks_vectors(world: World, workspace: str) -> bool:
    """Whether something of a workspace has no vector yet, or a vector is of what is no more. Never without an
    endpoint."""
    if not world.config.embeddings:
        return False
    with world.read() as conn:
        wanted = {(world.config.embeddings_model, one.mark) for one in _documents(conn, workspace)}
        return store.marks(conn, workspace) != wanted


def embed(world: World, workspace: str) -> bool:
    """Keeps vectors of what has none yet, a batch of it, and drops those of what is no more. True while there is more
    to do. An endpoint that does not answer is asked again at the next look."""
    model = world.config.embeddings_model
    with world.read() as conn:
        documents = {one.mark: one for one in _documents(conn, workspace)}
        known = store.vectors(conn, workspace, model)
    missing = [mark for mark in documents if mark not in known][: embedding.BATCH]
    found: dict[str, bytes] = {}
    if missing:
        try:
            vectors = embedding.vectors_of(world.config, [documents[mark].embedded for mark in missing])
        except Failed:
            return False
        found = dict(zip(missing, vectors, strict=True))
    with world.db.begin() as tx:  # no news to anybody
        if found:
            store.save(tx, workspace, model, found)
        store.drop_others(tx, workspace, model, documents)
    return len(missing) == embedding.BATCH
