"""What `operations.md` says works, and its examples are the files beside this one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from inngest_durable import Inngest, NonRetriableError, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart

from docs.examples import json_logs

EXAMPLES = Path(__file__).parent
ROOT = EXAMPLES.parents[1]
TEXT = (EXAMPLES.parent / "operations.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "packages/inngest_durable/src").rglob("*.py"))


def shop(database: Path) -> tuple[Quart, Inngest]:
    """An application with one endpoint that sleeps, and one that fails."""
    os.environ["INNGEST_DURABLE_DB"] = str(database)
    app, inngest = Quart(__name__), Inngest("shop", endpoint_adapter)

    async def decline() -> None:
        raise NonRetriableError("the card is declined")

    @app.get("/orders")
    @inngest.endpoint(id="shop.place_order")
    async def place_order() -> str:
        await step.sleep("pause", "1h")
        return "never"

    @app.get("/charges")
    @inngest.endpoint(id="shop.charge")
    async def charge() -> str:
        await step.run("charge", decline)
        return "never"

    inngest.init_app(app)
    return app, inngest


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INNGEST_DURABLE_DB", "set anew by the shop")
    return tmp_path / ".inngest" / "durable.db"


async def test_commands_work_in_their_order(database: Path, tmp_path: Path) -> None:
    """While the server runs."""
    app, _ = shop(database)
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    path = os.pathsep.join([*scripts, os.environ["PATH"]])
    lines = [line.removeprefix("$ ") for line in re.findall(r"^\$ .*$", TEXT, re.MULTILINE)]
    async with app.test_app() as running:
        run_id = (await running.test_client().get("/orders")).headers["x-inngest-run-id"]
        environ = {name: value for name, value in os.environ.items() if name != "INNGEST_DURABLE_DB"}
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-ec", "\n".join(lines)],
            cwd=tmp_path,
            env={**environ, "PATH": path, "RUN": run_id},
            capture_output=True,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(run_id) >= 3
    assert f"cancelled {run_id}" in done.stdout
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600


async def test_route_of_your_own_tells_why(database: Path) -> None:
    """The route in the text, as it is."""
    app, inngest = shop(database)
    (route,) = re.findall(r'```python\n(@app\.get\("/ready"\).*?)```', TEXT, re.DOTALL)
    exec(route, {"app": app, "inngest": inngest})
    async with app.test_app() as running:
        ready = await running.test_client().get("/ready")
        await inngest.stop()
        stopped = await running.test_client().get("/ready")

    assert (ready.status_code, await ready.get_json()) == (200, {"ready": True})
    assert (stopped.status_code, (await stopped.get_json())["ready"]) == (503, False)


async def test_failed_step_is_one_line_of_json(database: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the run and the step."""
    app, _ = shop(database)
    async with app.test_app() as running:
        run_id = (await running.test_client().get("/charges")).headers["x-inngest-run-id"]
    lines = [json_logs.JsonFormatter().format(record) for record in caplog.records if record.name == "inngest_durable"]
    fields = json.loads(lines[0])

    assert (fields["level"], fields["run_id"], fields["step"]) == ("WARNING", run_id, "charge")
    assert fields["message"].startswith("step 'charge' failed at attempt 1; ")
    assert all("\n" not in line for line in lines)


def test_log_json_takes_all_logs(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    json_logs.log_json(logging.WARNING)
    logging.getLogger("another").warning("hello")

    assert json.loads(capfd.readouterr().err)["message"] == "hello"


def test_traces_are_printed(tmp_path: Path) -> None:
    """In a process of its own, since a process has one global provider of tracers."""
    code = """
import asyncio
from docs.examples.traced_shop import app, provider
async def order():
    async with app.test_app() as running:
        print((await running.test_client().post("/orders", headers={"traceparent": SENT})).status_code)
asyncio.run(order())
provider.shutdown()
"""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    done = subprocess.run(
        [sys.executable, "-c", code.replace("SENT", repr(f"00-{trace_id}-b7ad6b7169203331-01"))],
        cwd=ROOT,
        env={**os.environ, "INNGEST_DURABLE_DB": str(tmp_path / "durable.db")},
        capture_output=True,
        text=True,
        check=True,
    )
    status, _, printed = done.stdout.partition("\n")
    spans = json.loads("[" + printed.replace("\n}\n{", "\n},\n{") + "]")

    assert status == "200"
    assert [span["name"] for span in spans] == ["step charge", "run docs.examples.traced_shop.place_order"]
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{trace_id}"}
    assert spans[0]["parent_id"] == spans[1]["context"]["span_id"]


@pytest.mark.parametrize("message", [*re.findall(r"log: `(.*?)`", TEXT), "its run is failed after"])
def test_messages_to_alert_on_are_logged(message: str) -> None:
    assert message in SOURCES
    assert f"`{message}`" in TEXT
