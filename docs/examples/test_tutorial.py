"""The tutorial, typed by a reader: its files are saved, its commands are run, and print what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from testkit.console import commands, output_of
from testkit.ports import free_port
from testkit.processes import install_debian_package

DOCS = Path(__file__).parents[1]
PAGE = (DOCS / "tutorial.md").read_text()
SAVED = dict(re.findall(r"^\[`\w+\.py`\]\((.*?(\w+\.py))\):$", PAGE, re.MULTILINE))
ADDRESS = "localhost:8000"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Name the folder that the reader will make in the root of the repository; see that the server there ends."""
    if not shutil.which("curl") and not install_debian_package("curl"):
        pytest.fail("the tutorial's commands need curl, and it is not installed")
    (tmp_path / "packages").symlink_to(DOCS.parent / "packages")
    made = tmp_path / "shop"
    yield made
    if (made / "server.pid").exists():
        with suppress(ProcessLookupError):
            os.kill(int((made / "server.pid").read_text()), signal.SIGKILL)


def test_reader_is_told_to_save_each_file() -> None:
    """By the name that the other files and the commands know."""
    assert sorted(SAVED.values()) == ["plain.py", "shop.py", "world.py"]
    for name in SAVED.values():
        assert f"as `{name}`" in PAGE


def test_commands_print_what_the_page_shows(folder: Path) -> None:
    """From the first order to the last, with two kills in between."""
    port = free_port()
    typed = commands(PAGE)

    assert sum("kill -9" in command.line for command in typed) == 2
    for command in typed:
        line = command.line.replace(ADDRESS, f"localhost:{port}")
        line = re.sub(r"uvicorn (\w+:app)", rf"uvicorn \1 --port {port}", line)
        printed = output_of(line, folder if folder.exists() else folder.parent)
        if line.startswith("mkdir"):
            for path, name in SAVED.items():
                shutil.copy(DOCS / path, folder / name)
        if "pip install" in line:
            # What pip has to say depends on the machine.
            assert (folder / ".venv/bin/uvicorn").exists(), printed
            continue
        assert command.prints(printed), f"$ {line}\n{printed}\nis printed instead of\n{command.output}"
