"""``make demo``: tells the story and leaves the console open on it; with CI=true it ends by itself.

``python -m demo [FOLDER]`` keeps what it makes in a folder (``.demo``), which it makes anew."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from demo.story import BrokenError, Story, environment
from tenure.kernel.errors import Failed


def main() -> int:
    """Exit status 0 when every step held, 1 when one did not."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo")
    unattended = os.environ.get("CI") == "true"
    # A window that is closed: what was started would go on without it, in a folder that the next one makes anew.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    story = Story(folder, lambda line: print(line, flush=True), environment(), first_port=7700)
    try:
        story.tell()
        print(f"\nEvery step held. The console:   {story.control}\nLog in, once:                   {story.login_link}")
        if not unattended:
            print("Ctrl-C ends the demonstration.")
            done = threading.Event()
            signal.signal(signal.SIGINT, lambda *_: done.set())
            done.wait()
    except (BrokenError, TimeoutError, Failed) as error:
        print(f"\nThe story broke: {error}", file=sys.stderr)
        return 1
    finally:
        story.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
