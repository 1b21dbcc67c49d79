"""The files to copy, served as `copy.md` says."""

from __future__ import annotations

import json
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testkit.ports import free_port
from testkit.processes import Process, answer_status
from testkit.records import Records

EXAMPLES = Path(__file__).parent
PAGE = (EXAMPLES.parent / "copy.md").read_text()
ORDER = json.loads(re.findall(r"^curl .* 'Content-Type: application/json' \\\n  -d '(.*)'$", PAGE, re.MULTILINE)[0])
SERVED = {"quart_app": ("uvicorn", "--port={}"), "flask_app": ("gunicorn", "--bind=127.0.0.1:{}")}


@pytest.fixture(params=SERVED)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Serve a copy of the file by the command on the page, on a free port."""
    server, port_option = SERVED[request.param]
    (command,) = re.findall(rf"^{server} {request.param}.*$", PAGE, re.MULTILINE)
    shutil.copy(EXAMPLES / f"{request.param}.py", tmp_path)
    shutil.copy(EXAMPLES / "gunicorn_conf.py", tmp_path / "gunicorn.conf.py")
    port = free_port()
    scripts = Path(sysconfig.get_path("scripts"))
    typed = [sys.executable, str(scripts / server), *command.split()[1:], port_option.format(port)]
    process = Process(typed, env={"INNGEST_DURABLE_DB": "durable.db"}, cwd=tmp_path, log=tmp_path / "log")
    try:
        process.wait_ready(lambda: answer_status(port, "/_inngest/health") == 200)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()
        # Shown by pytest when the test failed.
        sys.stdout.write(process.output)


def test_order_is_taken(url: str, tmp_path: Path) -> None:
    """The answer comes in one response, and each step has been done once."""
    answer = httpx.post(f"{url}/orders", json=ORDER, trust_env=False, timeout=30)

    assert (answer.status_code, answer.json()) == (
        *(200, {"ordered": True, "receipt": "30 paid by the card ending in 4242"}),
    )
    assert [run.endpoint for run in Records(tmp_path / "durable.db").runs()] == ["shop.place_order"]
    told = (tmp_path / "log").read_text()
    assert [told.count(what) for what in ("reserved tent", "charged 30", "mailed 30 paid", "released")] == [1, 1, 1, 0]


def test_declined_card_gives_the_article_back(url: str, tmp_path: Path) -> None:
    answer = httpx.post(f"{url}/orders", json={**ORDER, "card": "none"}, trust_env=False, timeout=30)

    assert (answer.status_code, answer.json()) == (402, {"ordered": False, "why": "there is no such card"})
    assert "released tent" in (tmp_path / "log").read_text()
