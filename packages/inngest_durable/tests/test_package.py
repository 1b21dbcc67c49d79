"""What goes with the code into the wheel: the licence, and the page that an index shows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text()


def test_licence_is_that_of_the_repository() -> None:
    """A copy: a link out of the folder is refused by those who build from the sdist."""
    assert (PACKAGE / "LICENSE").read_text() == (PACKAGE.parents[1] / "LICENSE").read_text()


def test_readme_names_every_extra() -> None:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| (`.*?) \|", README.partition("| extra |")[2].partition("\n\n")[0], re.MULTILINE)

    assert {extra for row in rows for extra in re.findall(r"`(\w+)`", row)} == set(project["optional-dependencies"])


def test_readme_names_files_that_are_there() -> None:
    begin = README.partition("## Where to begin reading")[2]
    named = re.findall(r"^\| `(.*?)` \|", begin.replace("| in `src/", "| in src/"), re.MULTILINE)

    assert len(named) == 5
    assert [name for name in named if not (PACKAGE / "src" / "inngest_durable" / name).is_file()] == []
