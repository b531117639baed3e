"""The story of ``make demo``, told headless."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from demo.processes import Process, free_port, listening, until
from demo.story import Story
from tests.sim.installation import clean_environment


@pytest.mark.req("R001", "R009", "R014", "R023", "R055", "R078", "R186")
@pytest.mark.timeout(300)
def test_the_story_holds_from_request_to_retirement(tmp_path: Path) -> None:
    told: list[str] = []
    environ = {name: value for name, value in clean_environment().items() if not name.startswith("OPENAI_")}
    story = Story(tmp_path / "demo", told.append, environ)
    try:
        story.tell()
    finally:
        story.close()
        print("\n".join(told))
    assert sum(line.startswith("  ok: ") for line in told) >= 10


@pytest.mark.timeout(300)
@pytest.mark.req("R041")
def test_the_story_holds_with_a_provider_and_its_key(tmp_path: Path) -> None:
    """As with OPENAI_API_KEY set: the agents never see the key, the provider gets it from the gateway."""
    port = free_port(0)
    provider = Process(
        (sys.executable, "-m", "demo.model", str(port)), {**clean_environment(), "DEMO_MODEL_KEY": "sk-canary-7f3a"}
    )
    until(lambda: listening(port), "the provider")
    told: list[str] = []
    environ = {**clean_environment(), "OPENAI_API_KEY": "sk-canary-7f3a", "OPENAI_MODEL": "scripted"}
    story = Story(tmp_path / "demo", told.append, {**environ, "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"})
    try:
        story.tell()
    finally:
        story.close()
        provider.stop()
        print("\n".join(told))
    assert any("The model is OpenAI's" in line for line in told)
    kept = [
        path for path in (tmp_path / "demo").rglob("*") if path.is_file() and b"sk-canary-7f3a" in path.read_bytes()
    ]
    assert kept == [], "the provider's key was written to disk"
    assert not any("sk-canary-7f3a" in line for line in told)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_what_it_started_ends_with_it_when_its_window_is_closed(tmp_path: Path, ending: signal.Signals) -> None:
    command = (sys.executable, "-m", "demo", str(tmp_path / "demo"))
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE) as demo:
        assert demo.stdout is not None
        assert any(b"ready in" in line for line in demo.stdout), "it came up"
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) > 4
        demo.send_signal(ending)
        assert b"stopped" in demo.stdout.read()
        assert demo.wait(30) == 128 + ending
    assert psutil.wait_procs(started, 10)[1] == []
