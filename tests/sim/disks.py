"""Disks that fail: a real one of a few megabytes, and one whose sickness a file chooses while it is in use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("sick_disk.c")


class SickDisk:
    """What is under ``folder``, for processes that are started with ``env``. Skips the test where there is no C
    compiler."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        library, self._state = scratch / "sick_disk.so", scratch / "sick_disk.state"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
        self.be("well")
        self.env = {"LD_PRELOAD": str(library), "SICK_DISK": str(folder), "SICK_DISK_STATE": str(self._state)}

    def be(self, state: str) -> None:
        """From now on: ``well``, ``slow MILLISECONDS``, ``hang`` or ``full``."""
        new = self._state.with_suffix(".new")
        new.write_text(state)
        new.replace(self._state)


class SmallDisk:
    """A file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leaves no room."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def grow(self, size: str) -> None:
        """Makes the file system itself larger."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)

    def clear(self) -> None:
        """Makes room again."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mounts a file system of ``size`` (as mount writes it) in memory. Skips the test without the right to mount."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
