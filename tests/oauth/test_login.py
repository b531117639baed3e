"""What a person allowed is traded once, renewed once each time, and ended by whatever is shown twice, or otherwise than
it was asked for: the verbs, on both databases, with a clock turned by hand."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tenure.base import events
from tenure.base.config import Config
from tenure.base.room import World
from tenure.identity import people
from tenure.identity import service as identity
from tenure.identity.model import verified
from tenure.kernel.errors import Refused
from tenure.kernel.json import JsonObject
from tenure.kernel.values import Actor, LifecycleState, Role
from tenure.oauth import service as oauth
from tenure.oauth.login import programs, service
from tenure.oauth.login.model import LOGIN_DAYS, Login, Program, Turned
from tenure.oauth.model import Answer, Form
from tenure.oauth.service import Knock
from tenure.registry import service as registry
from tenure.revocation import service as revocation
from tests.sim.clock import FakeClock
from tests.sim.manifests import manifest

S = LifecycleState
ANN = Actor("default", "person:ann@example.com", frozenset({Role.OWNER}))
OP = Actor("default", "person:op@example.com", frozenset({Role.OWNER, Role.OPERATOR, Role.APPROVER}))
SYSTEM = Actor("default", "system:test", frozenset({Role.SYSTEM}))
BACK = "http://127.0.0.1:1/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def world(world: World) -> World:
    """A world with ann, who owns the agent ``clerk`` in staging, and an operator."""
    identity.bootstrap(world)
    operator = Actor("default", "person:operator@localhost", frozenset({Role.OPERATOR}))
    people.add_person(world, operator, "ann@example.com", ["owner"])
    people.add_person(world, operator, "op@example.com", ["owner", "operator", "approver"])
    registry.apply(world, OP, manifest("clerk", "http://127.0.0.1:9/v1", owner="ann@example.com"))
    for actor, state in ((OP, S.APPROVED), (SYSTEM, S.CREATED), (SYSTEM, S.PROVISIONED), (OP, S.STAGING)):
        registry.transition(world, actor, "clerk", state, reason="a test asks")
    return world


@pytest.fixture
def program(world: World) -> Program:
    """A program that an operator registered."""
    return programs.add(world, OP, "Editor", [BACK])


def query(world: World, program: Program, **changes: str) -> str:
    """An authorization request."""
    asked = {
        "response_type": "code",
        "client_id": program.id,
        "redirect_uri": BACK,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": f"{world.config.gateway_url}/mcp",
        "scope": "tool:* data:*",
        "state": "s",
    }
    return urlencode(asked | changes)


def allowed(world: World, program: Program, actor: Actor = ANN, **changes: str) -> str:
    """The code that comes of it when the person agrees."""
    sent = query(world, program, **changes)
    scopes = parse_qs(sent)["scope"][0].split()
    location = service.allow(world, actor, sent, program, "clerk", scopes)
    told = parse_qs(urlsplit(location).query)
    assert (told["state"], told["iss"]) == (["s"], [identity.issuer(world.config)])
    return told["code"][0]


def trade(world: World, **fields: str) -> Answer:
    """A request to the token endpoint."""
    return oauth.token(world, Form(tuple(fields.items())))


def redeem(world: World, program: Program, code: str, **changes: str) -> Answer:
    """Trades a code in."""
    fields = {"grant_type": "authorization_code", "client_id": program.id, "code": code, "redirect_uri": BACK}
    return trade(world, **fields | {"code_verifier": VERIFIER} | changes)


def renew(world: World, program: Program, made: Answer, **changes: str) -> Answer:
    """Trades a refresh token in."""
    fields = {"grant_type": "refresh_token", "client_id": program.id, "refresh_token": made.more["refresh_token"]}
    return trade(world, **fields | changes)


def told(world: World, kind: str) -> list[Any]:
    """The Events of a type."""
    with world.read() as conn:
        return [one.event for one in events.read(conn, 0) if one.event.type == kind]


def why(world: World) -> str:
    """Why the last token was refused, as its Event says."""
    return str(told(world, "token.refused")[-1].data["why"])


def logins(world: World) -> list[Login]:
    """What ann allows now."""
    with world.read() as conn:
        return service.list_logins(conn, ANN, world.clock())


def principal(world: World, made: Answer) -> Any:
    """Who the bearer of a token is."""
    with world.read() as conn:
        keys = identity.public_keys(conn)
    audience = f"{world.config.gateway_url}/mcp"
    return verified(made.token, keys, identity.issuer(world.config), {audience}, world.clock().timestamp()).principal


def dead(world: World) -> set[str]:
    """The instances that gateways must not let in any more."""
    with world.read() as conn:
        facts = revocation.facts(conn, world.clock(), ["default"], "default")
    return set(facts["default"].instances) if facts else set()


@pytest.mark.req("R024", "R091")
def test_what_was_allowed_is_an_agent_that_acts_for_the_person(world: World, program: Program) -> None:
    made = redeem(world, program, allowed(world, program))
    who = principal(world, made)
    (login,) = logins(world)
    assert (who.agent, who.on_behalf_of, who.instance) == ("clerk", "ann@example.com", login.id)
    assert who.scopes == ("data:*", "tool:*")
    assert who.bounds == (("data:*", "tool:*"),)
    assert (made.scope, made.expires_in) == ("data:* tool:*", world.config.oauth_ttl_s)
    begun = told(world, "login.begun")[0]
    assert (begun.agent, begun.instance, begun.data["person"]) == ("clerk", login.id, "ann@example.com")
    issued = told(world, "token.issued")[-1]
    assert (issued.instance, issued.data["program"]) == (login.id, program.id)
    assert issued.data["scopes"] == ["data:*", "tool:*"]
    with world.read() as conn:
        record = str(events.read(conn, 0))
    assert made.token not in record
    assert made.more["refresh_token"] not in record


@pytest.mark.req("R037")
def test_a_refresh_token_is_good_once_and_the_next_goes_on(world: World, program: Program, clock: FakeClock) -> None:
    first = redeem(world, program, allowed(world, program))
    clock.advance(600)
    second = renew(world, program, first)
    assert second.more["refresh_token"] != first.more["refresh_token"]
    one, other = principal(world, second), logins(world)[0]
    assert (one.instance, one.session) == (other.id, other.session)
    clock.advance(2 * 3600)  # after a rest the work is another
    third = renew(world, program, second, scope="tool:crm/* offline_access")
    assert principal(world, third).session != one.session
    assert principal(world, third).scopes == ("tool:crm/*",)
    assert principal(world, renew(world, program, third)).scopes == ("data:*", "tool:*")


@pytest.mark.req("R043")
def test_a_person_allows_less_than_was_asked_and_nothing_else(world: World, program: Program) -> None:
    sent = query(world, program)
    for scopes in (["agent:*"], ["tool:*", "agent:*"], []):
        with pytest.raises(Refused) as refused:
            service.allow(world, ANN, sent, program, "clerk", scopes)
        assert refused.value.code == "bad_scope"
    location = service.allow(world, ANN, sent, program, "clerk", ["data:*"])
    made = redeem(world, program, parse_qs(urlsplit(location).query)["code"][0])
    assert principal(world, made).scopes == ("data:*",)
    with pytest.raises(Refused) as refused:
        renew(world, program, made, scope="tool:*")
    assert (refused.value.code, why(world)) == ("invalid_scope", "wider_scope")


def test_a_person_who_refuses_is_told_to_the_program_and_to_the_record(world: World, program: Program) -> None:
    location = service.refuse(world, ANN, query(world, program), program)
    assert parse_qs(urlsplit(location).query)["error"] == ["access_denied"]
    (event,) = told(world, "login.refused")
    assert (event.actor, event.data["program"]) == ("person:ann@example.com", program.id)
    assert logins(world) == []


def test_nobody_lets_a_program_act_as_an_agent_they_may_not_run(world: World, program: Program) -> None:
    stranger = Actor("default", "person:eve@example.com", frozenset({Role.OWNER}))
    seen = service.look(world, stranger, query(world, program), program)
    assert isinstance(seen, service.Question)
    assert seen.agents == ()
    with pytest.raises(Refused) as refused:
        allowed(world, program, stranger)
    assert refused.value.code == "not_permitted"
    for name, roles in (("service:ci", Role.OPERATOR), ("agent:clerk", Role.OWNER)):
        with pytest.raises(Refused) as refused:
            service.look(world, Actor("default", name, frozenset({roles})), query(world, program), program)
        assert refused.value.code == "not_permitted"


# -- what is shown twice, or by somebody else -------------------------------------------------------------------------


@pytest.mark.req("R024")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client_id": "prg_other"}, "other_program"),
        ({"redirect_uri": "http://127.0.0.1:2/callback"}, "other_redirect_uri"),
        ({"code_verifier": "w" * 64}, "pkce"),
        ({"code_verifier": CHALLENGE}, "pkce"),
        ({"code_verifier": ""}, "pkce"),
        ({"resource": "tenure-gateway"}, "other_resource"),
    ],
)
def test_a_code_in_other_hands_is_worth_nothing_and_spent(
    world: World, program: Program, changes: JsonObject, reason: str
) -> None:
    code = allowed(world, program)
    with pytest.raises(Refused) as refused:
        redeem(world, program, code, **changes)
    assert (refused.value.code, why(world)) == ("invalid_grant", reason)
    assert told(world, "login.ended")[-1].data["why"] == reason
    with pytest.raises(Refused):  # not even in the right hands any more
        redeem(world, program, code)
    assert logins(world) == []


@pytest.mark.req("R024")
def test_a_code_that_is_shown_twice_ends_what_it_was_good_for(world: World, program: Program) -> None:
    code = allowed(world, program)
    made = redeem(world, program, code)
    instance = principal(world, made).instance
    assert dead(world) == set()
    with pytest.raises(Refused) as refused:
        redeem(world, program, code)
    assert (refused.value.code, why(world)) == ("invalid_grant", "code_reused")
    assert dead(world) == {instance}
    assert told(world, "login.ended")[-1].data["why"] == "code_reused"
    with pytest.raises(Refused) as refused:
        renew(world, program, made)
    assert why(world) == "login_ended"


@pytest.mark.req("R024")
def test_a_refresh_token_that_is_shown_twice_ends_the_login_for_both(world: World, program: Program) -> None:
    first = redeem(world, program, allowed(world, program))
    second = renew(world, program, first)
    with pytest.raises(Refused) as refused:
        renew(world, program, first)
    assert (refused.value.code, why(world)) == ("invalid_grant", "refresh_reused")
    assert dead(world) == {principal(world, second).instance}
    with pytest.raises(Refused):
        renew(world, program, second)
    assert logins(world) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"client_id": "prg_other"}, "other_program"), ({"refresh_token": "tnf_x"}, "unknown_refresh_token")],
)
def test_a_refresh_token_in_other_hands(world: World, program: Program, changes: JsonObject, reason: str) -> None:
    made = redeem(world, program, allowed(world, program))
    with pytest.raises(Refused) as refused:
        renew(world, program, made, **changes)
    assert (refused.value.code, why(world)) == ("invalid_grant", reason)
    assert bool(logins(world)) is (reason == "unknown_refresh_token")


def test_a_code_waits_for_a_minute_and_a_login_for_a_month(world: World, program: Program, clock: FakeClock) -> None:
    late = allowed(world, program)
    clock.advance(61)
    with pytest.raises(Refused):
        redeem(world, program, late)
    assert why(world) == "code_expired"
    made = redeem(world, program, allowed(world, program))
    clock.advance(LOGIN_DAYS * 86_400)
    assert logins(world) == []
    with pytest.raises(Refused):
        renew(world, program, made)
    assert why(world) == "expired"


# -- what must still hold ---------------------------------------------------------------------------------------------


@pytest.mark.req("R024")
def test_a_program_gives_up_its_login_and_nobody_elses(world: World, program: Program) -> None:
    made = redeem(world, program, allowed(world, program))
    refresh = made.more["refresh_token"]
    for client, known in (("another", refresh), (program.id, "tnf_unknown")):
        oauth.revoke(world, Form((("client_id", client), ("token", known))), Knock())
    assert not dead(world), "it makes no difference, and is answered alike"
    with pytest.raises(Refused):
        oauth.revoke(world, Form((("token", refresh),)), Knock())
    oauth.revoke(world, Form((("client_id", program.id), ("token", refresh))), Knock())
    assert dead(world) == {principal(world, made).instance}
    assert told(world, "login.ended")[-1].data["why"] == "given_up"
    with pytest.raises(Refused):
        renew(world, program, made)


@pytest.mark.req("R043")
@pytest.mark.parametrize(
    "reason", ["revoked", "agent_ended", "person_gone", "not_permitted", "program_removed", "documents_off"]
)
def test_what_does_not_hold_any_more_is_not_renewed(world: World, program: Program, reason: str) -> None:
    if reason == "documents_off":
        program = replace(program, id="https://app.example/c.json", how="document")
    made = redeem(world, program, allowed(world, program))
    operator = Actor("default", "person:operator@localhost", frozenset({Role.OPERATOR}))
    then = world
    if reason == "revoked":
        service.end(world, ANN, logins(world)[0].id)
    elif reason == "agent_ended":
        registry.transition(world, OP, "clerk", S.SUSPENDED, reason="a test asks")
        registry.transition(world, OP, "clerk", S.STAGING, reason="a test asks")
    elif reason == "person_gone":
        people.remove_person(world, operator, "ann@example.com")
    elif reason == "not_permitted":
        people.add_person(world, operator, "ann@example.com", ["viewer"])
    elif reason == "program_removed":
        programs.remove(world, OP, program.id)
    else:
        then = replace(world, config=Config(data_dir=world.config.data_dir, oauth_clients=""))
    with pytest.raises(Refused) as refused:
        renew(then, program, made)
    assert refused.value.code == "invalid_grant"
    expected = {"revoked": "login_ended", "program_removed": "login_ended", "documents_off": "program_removed"}
    assert why(world) == expected.get(reason, reason)
    assert dead(world) == {principal(world, made).instance}
    assert told(world, "login.ended")[-1].data["why"] == {"documents_off": "program_removed"}.get(reason, reason)


def test_ones_own_logins_are_ones_own_and_an_operators_to_end(world: World, program: Program) -> None:
    redeem(world, program, allowed(world, program))
    (login,) = logins(world)
    eve = Actor("default", "person:eve@example.com", frozenset({Role.OWNER}))
    elsewhere = replace(ANN, workspace="other")
    for who in (eve, elsewhere):
        with pytest.raises(Refused):
            service.end(world, who, login.id)
    with world.read() as conn:
        assert service.list_logins(conn, eve, world.clock()) == []
        assert service.list_logins(conn, OP, world.clock(), everybody=True) == [login]
    service.end(world, OP, login.id)
    assert logins(world) == []
    with pytest.raises(Refused) as refused:
        service.end(world, ANN, login.id)
    assert refused.value.code == "no_such_login"


# -- programs ---------------------------------------------------------------------------------------------------------


def test_programs_register_themselves_where_that_is_allowed(world: World, clock: FakeClock) -> None:
    metadata = {"client_name": "Editor", "redirect_uris": [BACK], "token_endpoint_auth_method": "client_secret_basic"}
    with pytest.raises(Refused) as refused:
        programs.register(world, metadata, "127.0.0.1")
    assert refused.value.code == "access_denied"
    assert told(world, "program.refused")[-1].data["error"] == "access_denied"
    for _ in range(30):
        with pytest.raises(Refused):
            programs.register(world, metadata, "127.0.0.1")
    assert len(told(world, "program.refused")) == 20  # a stranger does not fill the record
    world = replace(world, config=Config(data_dir=world.config.data_dir, oauth_clients="registration"))
    clock.advance(60)
    with pytest.raises(Refused) as refused:
        programs.register(world, {"redirect_uris": ["http://app.example/"]}, "127.0.0.1")
    assert told(world, "program.refused")[-1].data["count"] == 12
    assert refused.value.code == "invalid_redirect_uri"
    made = programs.register(world, metadata, "127.0.0.1")
    assert made.how == "registration"
    with world.read() as conn:
        # One registry for the installation: people of every workspace can log in with it.
        assert service.the_program(conn, world.config, "other", made.id) == made
    clock.advance(25 * 3600)
    programs.register(world, metadata, "127.0.0.1")
    with world.read() as conn:  # nobody ever let it in: forgotten
        assert service.the_program(conn, world.config, "default", made.id) is None


def test_how_many_may_register_themselves_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = replace(world, config=Config(data_dir=world.config.data_dir, oauth_clients="registration"))
    monkeypatch.setattr(programs, "MAX_REGISTERED", 2)
    for _ in range(2):
        programs.register(world, {"redirect_uris": [BACK]}, "127.0.0.1")
    with pytest.raises(Refused) as refused:
        programs.register(world, {"redirect_uris": [BACK]}, "127.0.0.1")
    assert (refused.value.code, refused.value.status) == ("temporarily_unavailable", 429)


def test_an_operators_program_is_known_in_that_workspace_only(world: World, program: Program) -> None:
    with world.read() as conn:
        assert service.the_program(conn, world.config, "default", program.id) == program
        assert service.the_program(conn, world.config, "other", program.id) is None
    with pytest.raises(Refused) as refused:
        programs.add(world, ANN, "Editor", [BACK])
    assert refused.value.code == "not_permitted"


def test_a_request_that_breaks_a_rule_is_told(world: World, program: Program) -> None:
    turned = service.look(world, ANN, query(world, program, code_challenge_method="plain"), program)
    assert isinstance(turned, Turned)
    assert told(world, "login.turned_away")[-1].data["why"] == "pkce"
    with pytest.raises(Refused):
        service.look(world, ANN, query(world, program, redirect_uri="https://evil.example/"), program)
    event = told(world, "login.turned_away")[-1]
    assert (event.data["why"], event.actor, event.status) == ("wrong_redirect_uri", ANN.name, "flagged")
