"""
A Chromium to test with, wherever the tests run.

Looked for in this order: `E2E_BROWSER`, an installed Chromium or Chrome, Playwright's own build (downloaded once),
Debian's package (as root). Every way is bounded in time, and a browser counts only if it starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

from testkit.processes import install_debian_package, run_bounded

LAUNCH_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

COMMANDS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
MACOS_APPS = [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
]

HELP = """No Chromium or Chrome was found, and none could be installed. Any one of these will do:
  - install Chromium or Google Chrome with your system's package manager (Debian: apt-get install chromium)
  - run: python -m playwright install --with-deps chromium
  - set E2E_BROWSER to the path of a Chromium or Chrome executable"""


class NoBrowserError(Exception):
    """No browser is installed, and none could be installed."""


def find_chromium() -> str:
    """
    Return the path of a Chromium or Chrome that starts, installing one if need be.

    Raises:
        NoBrowserError: There is none. Says what to install.
    """
    if chosen := os.environ.get("E2E_BROWSER"):
        if not _starts(chosen):
            raise NoBrowserError(f"E2E_BROWSER={chosen} is not a browser that starts: it must answer --version")
        return chosen
    for path in _candidates():
        if _starts(path):
            return path
    raise NoBrowserError(HELP)


def _candidates() -> Iterator[str]:
    """Yield paths in the order of the module docstring; a later way is tried only when nothing before it starts."""
    yield from _installed()
    yield _playwrights_own()
    install = (sys.executable, "-m", "playwright", "install", "chromium")
    if run_bounded(*install, timeout_seconds=300, env={"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "10000"}):
        yield _playwrights_own()
    if install_debian_package("chromium"):
        yield from _installed()


def _installed() -> list[str]:
    found = [path for command in COMMANDS if (path := shutil.which(command))]
    return found + [path for path in MACOS_APPS if Path(path).exists()]


def _playwrights_own() -> str:
    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def _starts(path: str) -> bool:
    """Tell whether *path* runs here: not every file of that name is a browser with all of its libraries."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def main() -> None:
    """Print the path of the browser that the tests will use: `python -m e2e.browser`."""
    print(find_chromium())


if __name__ == "__main__":
    main()
