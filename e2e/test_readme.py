"""The root README: its commands are typed into a shell, and its code is the app's code."""

from __future__ import annotations

import inspect
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from trip_booker.booking import book_trip

from e2e.trip_booker import TripBooker
from testkit.console import Command, commands, output_of
from testkit.processes import install_debian_package
from testkit.waiting import wait_until

ROOT = Path(__file__).parents[1]

# Makes a virtual environment and runs nox in it: that is how these tests were started.
SETUP = "python3 -m venv "
ADDRESS = "http://localhost:3000"
LOOK_UP = re.compile(r"/api/bookings/[^/]+/calls\b")


@pytest.fixture
def readme() -> str:
    """Read the README; without one, every test here fails."""
    return (ROOT / "README.md").read_text()


@pytest.fixture(scope="session")
def _curl() -> None:
    if not shutil.which("curl") and not install_debian_package("curl"):
        pytest.fail("the README's commands need curl, and it is not installed")


@pytest.mark.usefixtures("_curl")
def test_commands_print_what_the_readme_shows(readme: str, trip_booker: TripBooker) -> None:
    """From the first booking to the crash and the look-up after it, a reader sees what is written there."""
    typed = [command for command in commands(readme) if not command.line.startswith(SETUP)]

    assert any("crash=process-payment" in command.line for command in typed)
    assert any(LOOK_UP.search(command.line) for command in typed)
    for command in typed:
        check(command, trip_booker)


def test_ci_runs_the_checks_as_the_readme_does(readme: str) -> None:
    """The README's test command is the line that CI runs; the demo is the same with a session of its own."""
    demo, checks = [command.line for command in commands(readme) if command.line.startswith(SETUP)]

    assert checks in (ROOT / ".ci" / "run").read_text().splitlines()
    assert demo == f"{checks} -s demo"
    assert re.search(r"^@nox\.session\ndef demo\(", (ROOT / "noxfile.py").read_text(), re.MULTILINE)


def test_handler_is_the_one_of_the_app(readme: str) -> None:
    """The first code that a reader sees is the source of the handler, decorators included."""
    first, *_ = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)

    assert first == inspect.getsource(book_trip)


def check(command: Command, app: TripBooker) -> None:
    """Type *command*; a look-up again and again, for it tells of what goes on by itself."""
    line = command.line.replace(ADDRESS, app.url)
    if LOOK_UP.search(line):
        with suppress(TimeoutError):
            wait_until(lambda: command.prints(output_of(line)), f"the output of {line}")
    printed = output_of(line)

    assert command.prints(printed), f"$ {command.line}\n{printed}\nis printed instead of\n{command.output}"
