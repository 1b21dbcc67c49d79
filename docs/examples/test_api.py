"""`api.md` names everything public, in Markdown that GitHub shows."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "api.md").read_text()
MODULES = ("", ".step", ".sync.step", ".sync.group", ".quart", ".flask", ".testing", ".otel")


@pytest.mark.parametrize("module", [f"inngest_durable{name}" for name in MODULES])
def test_page_lists_the_public_names(module: str) -> None:
    """All of them, and no others, beside the name of their module."""
    (listed,) = re.findall(rf"^\| `{re.escape(module)}` \| (.*) \|$", PAGE, re.MULTILINE)

    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(import_module(module).__all__)
