"""What docs/engines.md says of names, numbers and code is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import InngestEngine, Limits
from inngest_durable.engines.embedded.engine import EmbeddedEngine
from inngest_durable.engines.inngest import caps, settings
from inngest_durable.engines.inngest.keyed import PERIOD_SECONDS

from docs.examples import step_latency
from testkit.ports import free_port

PAGE = (Path(__file__).parents[1] / "engines.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"INNGEST_[A-Z_]+", inspect.getsource(settings)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INNGEST_DURABLE_DB", str(tmp_path / "durable.db"))


def test_environment_chooses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first snippet, with and without the variables of the table."""
    client, _ = SNIPPETS
    assert isinstance(run(client)["inngest"].engine, EmbeddedEngine)
    monkeypatch.setenv("INNGEST_DEV", "1")
    assert isinstance(run(client)["inngest"].engine, InngestEngine)
    monkeypatch.delenv("INNGEST_DEV")
    monkeypatch.setenv("INNGEST_SIGNING_KEY", "signkey-test-" + "ab" * 32)
    assert isinstance(run(client)["inngest"].engine, InngestEngine)


def test_options_are_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second snippet."""
    monkeypatch.setenv("INNGEST_DEV", "1")
    engine = run(SNIPPETS[1])["engine"]
    assert engine.settings.serve_origin == "https://api.example"
    assert engine.lease_seconds == 30


def test_every_variable_is_named() -> None:
    """Whoever reads the page knows all of them."""
    assert set(re.findall(r"INNGEST_[A-Z_]+", inspect.getsource(settings))) <= set(re.findall(r"INNGEST_[A-Z_]+", PAGE))


def test_numbers_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease, the lifetime of keys, and the limits of both engines."""
    monkeypatch.setenv("INNGEST_DEV", "1")
    highest = caps.lowered(Limits(request_body=10**9, step_result=10**9, run_state=10**9, response=10**9))
    assert InngestEngine().lease_seconds == 60
    assert "up to 60 s after the request began" in PAGE
    assert "half the lease, 30 s" in PAGE
    assert PERIOD_SECONDS == 7 * 86400
    assert "7 to 14 days" in PAGE
    assert [highest.request_body, highest.step_result, highest.run_state, highest.response] == [
        *(2_900_000, 4 * 2**20 - 64 * 2**10, 30 * 2**20, 4 * 2**20)
    ]
    for text in ("at most 2.9 MB", "64 KiB less than 4 MiB", "30 MiB"):
        assert text in PAGE


async def test_what_a_step_costs_can_be_measured() -> None:
    """The command on the page prints a line like those below it."""
    step_latency.STEPS, step_latency.REQUESTS, step_latency.NAPS = 2, 1, 1
    line = await step_latency.measured(f"127.0.0.1:{free_port()}")
    shape = r"EmbeddedEngine: first step N ms, further steps N ms \(p90 N ms\), 1 s sleep N s"
    assert re.fullmatch(shape.replace("N", r"[\d.]+"), line)
    assert (
        len(re.findall(f"(?m)^{shape.replace('N', '[0-9.]+').replace('Embedded', '(?:Embedded|Inngest)')}$", PAGE)) == 2
    )


def run(snippet: str) -> dict[str, Any]:
    """Run a snippet as it is; return its names."""
    names: dict[str, Any] = {}
    exec(snippet, names)
    return names
