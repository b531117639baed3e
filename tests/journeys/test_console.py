"""A person's whole journey in a real Chromium: from the login link to an agent's retirement, on a real installation.

With TENURE_SCREENSHOTS=FOLDER the pages are kept there as pictures (`make screenshots`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from demo.processes import Process, until
from demo.story import CLERK, RECONCILER, Story
from tests.sim.browser import launched, window
from tests.sim.installation import clean_environment


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    environ = {name: value for name, value in clean_environment().items() if not name.startswith("OPENAI_")}
    told: list[str] = []
    story = Story(tmp_path / "demo", told.append, environ)
    story.start_everything()
    yield story
    story.close()
    print("\n".join(told))


def _keep(page: Page, name: str) -> None:
    """A picture of the page in light and dark, where pictures are asked for."""
    folder = os.environ.get("TENURE_SCREENSHOTS")
    if not folder:
        return
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=Path(folder) / f"{name}-{scheme}.png", animations="disabled")
    page.emulate_media(color_scheme="light")


def _step(page: Page, verb: str, reason: str) -> None:
    """One lifecycle step on the agent's page: the button, the reason, and the word that it is done."""
    page.get_by_role("link", name=f"{verb}…").click()
    page.get_by_role("dialog").get_by_label("Reason").fill(reason)
    page.get_by_role("dialog").get_by_role("button", name=verb).click()
    expect(page.get_by_role("status").first).to_contain_text("Done.")


def _shows(page: Page, state: str) -> bool:
    """Whether the agent's page, loaded anew, shows it in a state."""
    page.reload()
    return page.locator("header .state", has_text=state).count() > 0


def _run(story: Story, agent: str, *command: str) -> Process:
    return story.start("tenure", "run", "--agent", agent, "--", sys.executable, "-m", *command)


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.req("R001", "R014", "R022", "R060", "R068", "R070", "R087", "R088", "R095")
def test_from_login_to_retirement(story: Story) -> None:
    with launched() as browser, window(browser, viewport={"width": 1360, "height": 900}) as opened:
        opened.expected.append("401")  # the console, before the login
        page = opened.page
        page.goto(story.control)
        expect(page.get_by_text("tenure login-link")).to_be_visible()

        page.goto(story.login_link)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("tenure apply -f agent.yaml")).to_be_visible()

        story.tenure("apply", "-f", story.manifest("clerk"), "-f", story.manifest("reconciler"))
        for agent in (CLERK, RECONCILER):
            page.goto(f"{story.control}/agents/{agent}")
            _step(page, "Approve", "needed for the monthly close")
            until(partial(_shows, page, "provisioned"), f"{agent} to be provisioned")
            _step(page, "Move to staging", "first run")
            story.see_the_tools(agent)
            _step(page, "Move to production", "tried in staging")
        clerk = _run(story, CLERK, "demo.agents.clerk", "scripted-clerk")

        page.goto(f"{story.control}/approvals")
        held = page.locator("[data-approval]", has_text="ledger/pay_invoice")
        expect(held).to_be_visible(timeout=30_000)
        expect(held).to_contain_text("184000")
        _keep(page, "approvals")
        held.get_by_placeholder("Reason").fill("agreed with the vendor")
        held.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("table")).to_contain_text("ledger/pay_invoice")
        story.wait_for(clerk, "clerk: done")

        strayed = _run(story, RECONCILER, "demo.agents.reconciler", "scripted-reconciler", "Report all salaries")
        strayed.wait(60)
        page.goto(f"{story.control}/live")
        expect(page.locator(".row .status-violation").first).to_be_visible()
        expect(page.locator(".row", has_text="delete_file").first).to_be_visible()
        _keep(page, "live")

        page.goto(f"{story.control}/agents/{RECONCILER}")
        expect(page.get_by_role("alert")).to_contain_text("The breaker stopped this agent.")
        page.get_by_role("link", name="Start again").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("the task was wrong, not the agent")
        page.get_by_role("dialog").get_by_role("button", name="Start").click()
        expect(page.get_by_role("status").first).to_contain_text("Started.")
        again = _run(story, RECONCILER, "demo.agents.reconciler", "scripted-reconciler", "Reconcile the ledger")
        assert again.wait(60) == 0

        page.goto(story.control)
        expect(page.get_by_role("table")).to_contain_text(CLERK)
        _keep(page, "fleet")
        page.goto(f"{story.control}/traces?agent={CLERK}")
        page.locator(".cover").first.click()
        expect(page.locator(".wf", has_text="originals-are-kept").first).to_be_visible()
        expect(page.locator("main")).to_contain_text("agreed with the vendor")
        _keep(page, "trace")

        page.goto(f"{story.control}/agents/{CLERK}")
        _keep(page, "agent")
        _step(page, "Retire", "replaced by the new accounting system")
        clerk.wait(60)
        page.reload()
        expect(page.get_by_text("This is the end of its working life.")).to_be_visible(timeout=10_000)

        page.goto(f"{story.control}/audit")
        page.get_by_role("button", name="Verify the chain").click()
        expect(page.get_by_role("status").first).to_contain_text("The chain holds.")
        _keep(page, "audit")
