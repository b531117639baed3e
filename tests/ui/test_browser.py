"""What only a browser shows: live updates, keys, dialogs, and pages that fit a phone, under the real content policy."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tenure.app.server import COOKIE
from tenure.base.clock import system_clock
from tenure.kernel.values import Status
from tenure.ui.model import STATUS_WORDS
from tests.sim.browser import Window, window
from tests.sim.console import Console, held, refused
from tests.sim.telemetry import tool_call
from tests.ui.conftest import until

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/agents/clerk",
    "/live",
    "/traces",
    "/sessions",
    "/approvals",
    "/tools",
    "/audit?verify=1",
    "/policies",
    "/notify",
    "/limits",
    "/people",
    "/owners",
    "/workspaces",
)


def enter(opened: Window, console: Console, session: str) -> None:
    """Logs the window in."""
    opened.context.add_cookies([{"name": COOKIE, "value": session, "url": console.url}])


@pytest.mark.parametrize("width", [1360, 380])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_and_nothing_complains(
    browser: Browser, console: Console, session: str, width: int, scheme: Any
) -> None:
    with window(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as opened:
        enter(opened, console, session)
        opened.page.goto(console.url)
        rail = opened.page.locator(".nav a").evaluate_all("every => every.map(one => one.pathname)")
        assert len(rail) > 10
        for address in dict.fromkeys([*rail, *PAGES, "/sessions", "/paths", "/report"]):
            opened.page.goto(console.url + address)
            assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, address
            if address in rail:
                expect(opened.page.locator(".nav [aria-current]")).to_be_in_viewport(ratio=1)
        opened.page.goto(f"{console.url}/traces")
        opened.page.locator(".cover").first.click()
        opened.page.locator(".wf summary").first.click()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.req("R087", "R088")
def test_a_call_is_in_the_feed_within_three_seconds(browser: Browser, console: Console, session: str) -> None:
    with window(browser) as opened:
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/live")
        expect(opened.page.locator("#pulse-word")).to_have_text("live")
        console.send(tool_call(system_clock(), "files/allowed_now", agent="clerk"))  # a first use is flagged
        expect(opened.page.locator(".row", has_text="files/allowed_now")).to_be_visible()
        for status in Status:
            sent = time.monotonic()
            console.send(tool_call(system_clock(), f"files/{status}_now", status=status, agent="clerk"))
            row = opened.page.locator(f".row:has(.status-{status})", has_text=f"files/{status}_now")
            expect(row).to_be_visible(timeout=3000)
            assert time.monotonic() - sent < 3
            expect(row.locator(".status")).to_have_text(STATUS_WORDS[status])
            expect(row.locator(".status .icon")).to_have_count(1)


def test_a_paused_feed_keeps_what_comes_and_a_filter_is_an_address(
    browser: Browser, console: Console, session: str
) -> None:
    with window(browser) as opened:
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/live")
        expect(opened.page.locator("#pulse-word")).to_have_text("live")
        opened.page.keyboard.press("p")
        console.send(refused(system_clock(), "files/while_paused", agent="clerk"))
        expect(opened.page.locator("#held")).to_have_text("1 new, show")
        expect(opened.page.locator(".row", has_text="while_paused")).to_have_count(0)
        opened.page.keyboard.press("p")
        expect(opened.page.locator(".row", has_text="while_paused")).to_have_count(1)
        opened.page.get_by_role("radio", name="Flagged").check()
        opened.page.wait_for_url("**/live?status=flagged*")
        expect(opened.page.locator(".row .status-violation")).to_have_count(0)


def test_a_filter_survives_a_reload_and_a_live_row_is_the_row_that_a_reload_shows(
    browser: Browser, console: Console, session: str
) -> None:
    with window(browser) as opened:
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/live?agent=clerk&status=violation")
        expect(opened.page.locator("#pulse-word")).to_have_text("live")
        console.send(
            tool_call(system_clock(), "files/not_asked_for", agent="clerk"),
            refused(system_clock(), "files/of_another", agent="newcomer"),
            refused(system_clock(), "files/asked_for", agent="clerk"),
        )
        row = opened.page.locator(".row", has_text="files/asked_for")
        expect(row).to_have_count(1)
        live = row.inner_text(), row.locator(".row-link a").get_attribute("href")
        opened.page.reload()
        expect(opened.page.get_by_role("radio", name="Violation")).to_be_checked()
        assert (row.inner_text(), row.locator(".row-link a").get_attribute("href")) == live
        for other in ("not_asked_for", "of_another"):
            expect(opened.page.locator(".row", has_text=other)).to_have_count(0)


def test_more_than_fits_on_the_screen_is_all_there_when_it_is_calm(
    browser: Browser, console: Console, session: str
) -> None:
    with window(browser) as opened:
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/live")
        expect(opened.page.locator("#pulse-word")).to_have_text("live")
        before = opened.page.locator(".row").count()
        console.send(*(tool_call(system_clock(), f"files/wave_{n}", agent="clerk") for n in range(120)))
        expect(opened.page.locator(".row")).to_have_count(min(200, before + 120))
        numbers = [
            int(seq) for seq in opened.page.locator(".row").evaluate_all("all => all.map(row => row.dataset.seq)")
        ]
        assert numbers[:120] == list(range(numbers[0], numbers[0] - 120, -1))
        assert numbers == sorted(set(numbers), reverse=True)
        expect(opened.page.locator(".row", has_text="files/wave_0")).to_have_count(1)
        opened.page.evaluate("scrollTo(0, 900)")
        console.send(tool_call(system_clock(), "files/while_scrolled", agent="clerk"))
        expect(opened.page.locator("#held")).to_have_text("1 new, show")
        opened.page.evaluate("scrollTo(0, 0)")
        expect(opened.page.locator(".row").first).to_contain_text("while_scrolled")
        expect(opened.page.locator(".row")).to_have_count(min(200, before + 121))


def test_a_lost_connection_loses_no_row(browser: Browser, console: Console, session: str) -> None:
    with window(browser) as opened:
        opened.expected += ["ERR_INTERNET_DISCONNECTED", "ERR_NETWORK"]
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/live")
        expect(opened.page.locator("#pulse-word")).to_have_text("live")
        opened.page.evaluate("dispatchEvent(new Event('pagehide'))")
        opened.context.set_offline(True)
        console.send(*(tool_call(system_clock(), f"files/missed_{n}", agent="clerk") for n in range(3)))
        opened.context.set_offline(False)
        opened.page.evaluate("dispatchEvent(new Event('pageshow'))")
        for n in range(3):
            expect(opened.page.locator(".row", has_text=f"missed_{n}")).to_have_count(1)


@pytest.mark.req("R070")
def test_an_approval_appears_by_itself_and_is_decided_by_keys(browser: Browser, console: Console, session: str) -> None:
    with window(browser) as opened:
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/approvals")
        opened.page.wait_for_timeout(500)
        console.send(held(system_clock(), {"invoice": "K-1", "amount_cents": 77}, agent="newcomer"))
        card = opened.page.locator("[data-approval]", has_text="K-1")
        expect(card).to_be_visible()
        for _ in range(20):
            if "chosen" in (card.get_attribute("class") or ""):
                break
            opened.page.keyboard.press("j")
        opened.page.keyboard.press("a")
        expect(card.locator(".armed")).to_contain_text("Enter approves")
        opened.page.keyboard.type("checked with the bank")
        opened.page.keyboard.press("Enter")
        expect(opened.page.get_by_text("Approved: the call may go on, once.")).to_be_visible()
        found = [one for one in console.client.get("/v1/approvals", list) if one["arguments"].get("invoice") == "K-1"]
        assert (found[0]["state"], found[0]["reason"]) == ("granted", "checked with the bank")


@pytest.mark.req("R065")
def test_a_call_that_joins_its_like_by_itself_is_not_ticked(browser: Browser, console: Console, session: str) -> None:
    def send(*names: str) -> None:
        console.send(*(held(system_clock(), {"invoice": name}, agent="heron") for name in names))
        until(
            lambda: set(names) <= {one["arguments"].get("invoice") for one in console.client.get("/v1/approvals", list)}
        )

    with window(browser) as opened:
        enter(opened, console, session)
        send("N-1", "N-2")
        opened.page.goto(f"{console.url}/approvals")
        card = opened.page.locator("[data-approval]", has_text="N-1")
        boxes = card.locator("[type=checkbox]")
        expect(boxes).to_have_count(2)
        boxes.nth(1).uncheck()
        opened.page.locator("h1").click()
        send("N-3")
        expect(boxes).to_have_count(3)
        assert [boxes.nth(index).is_checked() for index in range(3)] == [True, False, False]
        card.get_by_role("button", name="Approve the ticked").click()
        expect(opened.page.get_by_text("1 call approved")).to_be_visible()
        states = {one["arguments"].get("invoice"): one["state"] for one in console.client.get("/v1/approvals", list)}
        assert {name: states[name] for name in ("N-1", "N-2", "N-3")} == {
            "N-1": "granted", "N-2": "pending", "N-3": "pending",
        }  # fmt: skip


@pytest.mark.req("R070")
def test_what_waits_is_told_on_every_page_without_a_jump(browser: Browser, console: Console, session: str) -> None:
    with window(browser, viewport={"width": 1360, "height": 900}) as opened:
        enter(opened, console, session)
        page = opened.page
        page.goto(f"{console.url}/audit")
        badge = page.locator(".badge")
        before = int(badge.evaluate("node => node.firstChild.textContent")) if badge.count() else 0
        console.send(held(system_clock(), {"invoice": "B-1", "amount_cents": 1}, agent="clerk"))
        expect(badge).to_have_text(f"{before + 1} waiting", timeout=8000)
        page.goto(console.url)
        filters = page.locator(".filters").bounding_box()
        console.send(held(system_clock(), {"invoice": "B-2", "amount_cents": 1}, agent="clerk"))
        expect(page.locator(".attention")).to_contain_text(f"{before + 2} calls wait", timeout=8000)
        assert page.locator(".filters").bounding_box() == filters
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
        page.wait_for_timeout(4500)
        assert not [url for url in asked if url.endswith(("/waiting", "/attention"))]


def test_paper_is_light_and_holds_no_controls(browser: Browser, console: Console, session: str) -> None:
    with window(browser, color_scheme="dark") as opened:
        enter(opened, console, session)
        page = opened.page
        page.goto(f"{console.url}/agents/clerk")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        ink = "getComputedStyle(document.body).color"
        assert page.evaluate(ink) == "rgb(237, 234, 228)"
        page.emulate_media(media="print")
        assert page.evaluate(ink) == "rgb(31, 29, 26)"
        expect(page.locator(".rail")).to_be_hidden()
        picture = page.locator(".picture")
        assert picture.evaluate("node => node.scrollWidth <= node.clientWidth")


def test_keys_theme_and_a_transition_in_a_dialog(browser: Browser, console: Console, session: str) -> None:
    console.register("keyed", "approved")
    until(lambda: console.client.get("/v1/agents/keyed", dict)["state"] == "provisioned")
    with window(browser, color_scheme="light") as opened:
        enter(opened, console, session)
        page = opened.page
        page.goto(console.url)
        page.keyboard.press("/")
        page.keyboard.type("keyed")
        expect(page.locator("tbody tr")).to_have_count(1)
        assert "q=keyed" in page.url
        page.evaluate("htmx.trigger(document.body, 'tenure:news')")
        page.wait_for_timeout(300)
        expect(page.locator("tbody tr")).to_have_count(1)  # news renews what the filter shows, not everything
        page.locator("h1").click()
        page.keyboard.press("?")
        expect(page.locator("dialog")).to_contain_text("Pause the live feed")
        page.keyboard.press("Escape")
        page.locator("#theme").click()
        page.keyboard.press("g")
        page.keyboard.press("l")
        page.wait_for_url("**/live")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.goto(f"{console.url}/agents/keyed")
        page.get_by_role("link", name="Move to staging").click()
        page.get_by_label("Reason").fill("let it try")
        page.get_by_role("button", name="Move to staging").click()
        expect(page.get_by_text("Done. keyed is now staging.")).to_be_visible()


def test_the_console_is_readable_without_scripts(browser: Browser, console: Console, session: str) -> None:
    with window(browser, java_script_enabled=False) as opened:
        enter(opened, console, session)
        opened.page.goto(f"{console.url}/live")
        assert opened.page.locator(".row").count() > 3
        expect(opened.page.locator("#pause")).to_be_hidden()
        expect(opened.page.get_by_role("button", name="Show")).to_be_visible()
        opened.page.goto(f"{console.url}/agents/newcomer")
        opened.page.get_by_role("link", name="Reject").click()
        expect(opened.page.get_by_role("button", name="Reject")).to_be_visible()
