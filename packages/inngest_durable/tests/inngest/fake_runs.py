"""What the fake server does with runs: it creates them, keeps their state, resumes and ends them."""

from __future__ import annotations

import base64
import functools
import json
import re
from typing import Any

from celpy import Environment
from celpy.adapter import CELJSONEncoder, json_to_cel
from celpy.celtypes import MapType, StringType
from celpy.evaluation import CELEvalError

from packages.inngest_durable.tests.inngest.fake_clock import FakeClock
from packages.inngest_durable.tests.inngest.fake_state import (
    CANCELLED,
    FAILED,
    Function,
    Job,
    Json,
    Run,
    Wait,
)
from packages.inngest_durable.tests.inngest.fake_wire import ENV_ID, as_decoded, from_base64, new_ulid, stable_uuid

_PATH = re.compile(r"\basync(?:\.\w+)+")


class Runs:
    """
    Everything the server knows.

    Attributes:
        jobs: Re-entries to come, and those under way.
        waits: Steps that wait for an event or a signal.
        events: Every event received or made, oldest first.
        violations: What an SDK should not have sent, as texts.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.runs: dict[str, Run] = {}
        self.functions: dict[str, Function] = {}
        self.jobs: list[Job] = []
        self.waits: list[Wait] = []
        self.events: list[Json] = []
        self.violations: list[str] = []

    def create(self, body: Json) -> Run:
        """Create the run that *body* describes, or find it. One that has ended is given a state once more."""
        data = body["event"]["data"]
        slug = data.get("fn") or f"{data['method']} {data['path']}"
        app_id = stable_uuid(ENV_ID, data["domain"])
        fn_id = stable_uuid(app_id, slug)
        # Of all runs of the endpoint, those under way included: the function is one row.
        self.functions[fn_id] = Function(data["method"], int(body.get("retries") or 0))
        run = self.runs.get(body["run_id"])
        if run is not None and run.is_over:
            self.violations.append(f"run {run.run_id} was created again after its end: the server enters it once more")
        if run is not None and run.actions is None:
            # A restart lost its state, or it has ended: there is nothing that says the run exists.
            run.actions, run.state_bytes, run.job_keys, run.is_planned = {}, 0, set(), False
        if run is not None:
            return run
        event = body["event"]
        run = Run(
            run_id=body["run_id"],
            fn_id=fn_id,
            app_id=app_id,
            slug=slug,
            event={
                "data": _event_data(data),
                "id": event.get("id") or new_ulid(self.clock.now()),
                "name": event["name"],
                "ts": event.get("ts") or int(self.clock.now() * 1000),
            },
            url=data["domain"] + data["path"],
            request_version=int(body.get("request_version") or 0),
            created_at=self.clock.now(),
            body=from_base64(data.get("body") or "") or b"",
        )
        self.runs[run.run_id] = run
        return run

    def live(self, run_id: str) -> Run | None:
        """Return a run whose state is there."""
        run = self.runs.get(run_id)
        return None if run is None or run.actions is None else run

    def store(self, run: Run, op_id: str, value: Any, size: int = 0) -> bool:
        """Memoize *value*, unless there is one: the first stays. Tells whether it was stored."""
        assert run.actions is not None
        if op_id in run.actions:
            return False
        run.actions[op_id] = as_decoded(value)
        run.state_bytes += size
        run.pending.discard(op_id)
        return True

    def enqueue(self, run: Run, key: str, kind: str, seconds: float = 0, **fields: Any) -> Job | None:
        """Add a job; None if there was one for *key* before, even if it is done."""
        if key in run.job_keys:
            return None
        run.job_keys.add(key)
        job = Job(new_ulid(self.clock.now()).lower()[-13:], run.run_id, kind, self.clock.now() + seconds, **fields)
        self.jobs.append(job)
        return job

    def resume(self, wait: Wait, value: Any) -> None:
        """Give *wait* its value, and enter the run again."""
        self.waits.remove(wait)
        self.jobs = [job for job in self.jobs if (job.run_id, job.settles) != (wait.run_id, wait.op_id)]
        if (run := self.live(wait.run_id)) is None or not self.store(run, wait.op_id, value):
            return
        if wait.is_race or not run.pending:
            self.enqueue(run, f"{wait.op_id}-resumed", "edge")

    def settle(self, run: Run, job: Job) -> bool:
        """
        Note that the time of *job* has come: a sleep is over, or a wait was in vain.

        Tells whether the run is to be entered: not while other opcodes of the same answer are pending.
        """
        if not job.settles:
            return True
        self.waits = [wait for wait in self.waits if (wait.run_id, wait.op_id) != (job.run_id, job.settles)]
        self.store(run, job.settles, None)
        return job.is_race or not run.pending

    def publish(self, event: Json) -> None:
        """Take in *event*: whoever waits for it by now is resumed."""
        self.events.append(event)
        incoming: Json = {key: event[key] for key in ("data", "id", "name", "ts")} | {"user": event.get("user", {})}
        for wait in [wait for wait in self.waits if wait.kind == "event" and wait.name == event["name"]]:
            run = self.runs[wait.run_id]
            if wait in self.waits and wait.expires > self.clock.now() and _holds(wait, run.event, incoming):
                self.resume(wait, incoming)

    def signal(self, name: str, data: Any) -> str | None:
        """Resume who waits for the signal *name*; returns the ID of that run, or None."""
        for wait in self.waits:
            if wait.kind == "signal" and wait.name == name and wait.expires > self.clock.now():
                self.resume(wait, {"data": {"signal": name, "data": data}})
                return wait.run_id
        return None

    def end(
        self, run: Run, status: str, output: bytes, result: Any = None, error: Any = None, listed: Any = None
    ) -> None:
        """
        End *run*: its state goes, and events tell of it.

        Args:
            output: What the output endpoint answers.
            result, error: What the events tell.
            listed: What a look at the run tells.
        """
        run.listed = listed
        if not run.is_over:
            run.status, run.output, run.ended_at = status, output, self.clock.now()
        self.forget(run)
        data: Json = {
            "_inngest": {"status": status},
            "event": {**run.event, "user": {}},
            "events": [run.event],
            "function_id": run.slug,
            "run_id": run.run_id,
        }
        data |= {"error": error} if error is not None else {}
        data |= {"result": result} if result is not None else {}
        names = ["inngest/function.finished"]
        names += {FAILED: ["inngest/function.failed"], CANCELLED: ["inngest/function.cancelled"]}.get(status, [])
        for name in names:
            now = self.clock.now()
            self.publish({"data": data, "id": new_ulid(now), "name": name, "ts": int(now * 1000), "user": {}})

    def forget(self, run: Run) -> None:
        """Remove the state of *run*, and what would have entered it again."""
        run.actions = None
        run.pending = set()
        self.jobs = [job for job in self.jobs if job.run_id != run.run_id]
        self.waits = [wait for wait in self.waits if wait.run_id != run.run_id]

    def attempts(self, run: Run) -> int:
        """Return how often a step or a re-entry of *run* is tried."""
        return self.functions[run.fn_id].attempts


def driver_result(body: bytes) -> str:
    """Return what an answer looks like in the event that a run ended."""
    return base64.b64encode(body).decode()


def _event_data(data: Json) -> Json:
    names = ("body", "content_type", "domain", "fn", "ip", "method", "path", "query_params")
    return {name: data.get(name) or "" for name in names}


def _holds(wait: Wait, event: Json, incoming: Json) -> bool:
    if not wait.expression:
        return True
    arrived = json_to_cel(incoming)
    for path in _PATH.findall(wait.expression):
        arrived = _with_null(arrived, path.split(".")[1:])
    try:
        found = _program(wait.expression).evaluate({"event": json_to_cel(event), "async": arrived})
    except CELEvalError:
        return False
    return json.loads(json.dumps(found, cls=CELJSONEncoder)) is True


class _Null:
    """What the server reads where an event has nothing: null, which is less than any number there."""

    def __eq__(self, other: object) -> bool:
        return other is None

    def __lt__(self, other: object) -> bool:
        return isinstance(other, float | int)

    def __hash__(self) -> int:
        return 0


def _with_null(fields: Any, path: list[str]) -> Any:
    """Return *fields* with null at *path* if nothing is there."""
    if not path:
        return _Null() if fields is None else fields
    if not isinstance(fields, dict | None):
        return fields
    inner = _with_null((fields or {}).get(StringType(path[0])), path[1:])
    return MapType({**(fields or {}), StringType(path[0]): inner})


@functools.lru_cache(maxsize=256)
def _program(expression: str) -> Any:
    environment = Environment()
    return environment.program(environment.compile(expression))
