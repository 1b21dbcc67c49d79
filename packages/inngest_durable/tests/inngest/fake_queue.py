"""The fake server's queue: it looks for jobs that are due, calls the application, and reads what it answers."""

from __future__ import annotations

import asyncio
import random
import time

import httpx

from packages.inngest_durable.tests.inngest.fake_checks import check_answer
from packages.inngest_durable.tests.inngest.fake_faults import Faults
from packages.inngest_durable.tests.inngest.fake_ops import FatalOpError, Operations, OpError, failure
from packages.inngest_durable.tests.inngest.fake_pace import Pace
from packages.inngest_durable.tests.inngest.fake_reading import Again, Ended, read
from packages.inngest_durable.tests.inngest.fake_runs import Runs, driver_result
from packages.inngest_durable.tests.inngest.fake_state import FAILED, Dispatch, Job, Received, Run
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid, signature

_CONNECT_SECONDS = 5.0


class Queue:
    """
    Enters runs again.

    Args:
        signing_key: Signs requests; None for a development server, which sends an empty signature.

    Attributes:
        dispatches: Every request to the application, in order.
    """

    def __init__(self, runs: Runs, operations: Operations, faults: Faults, pace: Pace, signing_key: str | None) -> None:
        self._runs = runs
        self._operations = operations
        self._faults = faults
        self._pace = pace
        self._signing_key = signing_key
        self._tasks: set[asyncio.Task[None]] = set()
        self._shifted: set[str] = set()
        self.dispatches: list[Dispatch] = []

    async def work(self) -> None:
        """Look for due jobs until cancelled."""
        try:
            while True:
                self._look()
                await asyncio.sleep(self._pace.tick_seconds)
        finally:
            for task in self._tasks:
                task.cancel()

    def _look(self) -> None:
        if self._faults.is_unreachable:
            return
        for job in list(self._runs.jobs):
            if job.job_id not in self._shifted:
                self._shifted.add(job.job_id)
                job.at += self._faults.late_seconds
            if not job.is_dispatched and job.at <= self._runs.clock.now():
                job.is_dispatched = True
                self._start(job)

    def _start(self, job: Job) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver_or_tell(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_or_tell(self, job: Job) -> None:
        try:
            await self._deliver(job)
        except Exception as error:
            self._runs.violations.append(f"the fake server broke on run {job.run_id}: {error!r}")
            raise

    async def _deliver(self, job: Job) -> None:
        run = self._runs.live(job.run_id)
        if run is None:
            return
        if not self._runs.settle(run, job):
            self._remove(job)
            return
        first = self._request(run, job)
        deliveries = [self._send(first)]
        if self._faults.twice > 0:
            self._faults.twice -= 1
            deliveries.append(self._send(self._repeated(first)))
        if self._faults.beside > 0:
            self._faults.beside -= 1
            deliveries.append(self._send_and_apply(self._request(run, job), run, job))
        await asyncio.gather(*deliveries)
        self._apply(first, run, job)

    async def _send_and_apply(self, dispatch: Dispatch, run: Run, job: Job) -> None:
        await self._send(dispatch)
        self._apply(dispatch, run, job)

    def _request(self, run: Run, job: Job) -> Dispatch:
        now = self._runs.clock.now()
        data = run.event["data"]
        is_request = run.event["name"] == "inngest/http.request"
        body = run.body if is_request else b""
        signed = ""
        if self._signing_key is not None:
            signed = signature(body, self._signing_key, int(time.time()) + self._faults.signature_seconds)
        headers = [
            ("User-Agent", "Inngest"),
            ("Connection", "close"),
            ("Content-Type", (data["content_type"] if is_request else "") or "application/json"),
            ("X-Inngest-Generation-Id", str(job.generation)),
            ("X-Inngest-Job-Id", job.job_id),
            ("X-Inngest-Req-Version", str(run.request_version)),
            ("X-Inngest-Signature", signed),
            ("X-Request-Id", new_ulid(now)),
            ("X-Run-Id", run.run_id),
            ("Accept-Encoding", "gzip"),
        ]
        headers += [("X-Inngest-Force-Step-Plan", "true")] if run.is_planned else []
        headers += [("X-Inngest-Step-Id", job.step_id)] if job.step_id else []
        query = data["query_params"] if is_request else ""
        url = f"{run.url}?{query}" if query else run.url
        method = self._runs.functions[run.fn_id].method
        dispatch = Dispatch(run.run_id, job.job_id, dict(headers)["X-Request-Id"], method, url, headers, body, now)
        self.dispatches.append(dispatch)
        return dispatch

    def _repeated(self, first: Dispatch) -> Dispatch:
        again = Dispatch(
            *(first.run_id, first.job_id, first.request_id, first.method, first.url, first.headers, first.body),
            at=first.at,
            is_applied=False,
        )
        self.dispatches.append(again)
        return again

    async def _send(self, dispatch: Dispatch) -> None:
        await send(dispatch)
        if not dispatch.error:
            for problem in check_answer(dispatch.status, dispatch.response_headers, dispatch.response):
                self._runs.violations.append(f"re-entry of run {dispatch.run_id}: {problem}")

    def _apply(self, dispatch: Dispatch, run: Run, job: Job) -> None:
        """Let the answer take effect."""
        if self._runs.live(run.run_id) is None:
            return
        if dispatch.error:
            self._retry(job, run, None)
            return
        answer = read(dispatch.status, dispatch.response_headers, dispatch.response, self._runs.clock.now())
        if isinstance(answer, Ended):
            result = driver_result(dispatch.response)
            is_lost = answer.output in (b"", b"null")
            listed = "" if is_lost else driver_result(answer.output)
            self._runs.end(run, answer.status, answer.output, result, answer.error, listed)
        elif isinstance(answer, Again):
            self._retry(job, run, None)
        else:
            run.ops += [Received(op, "re-entry") for op in answer.ops]
            try:
                retry = self._operations.answer(run, job, answer)
            except FatalOpError as error:
                output = failure(error)
                told = {"name": "Error", "message": str(error)}
                self._runs.end(run, FAILED, output, error=told, listed={"error": told})
            except OpError:
                self._retry(job, run, None)
            else:
                self._done(job, run, retry)

    def _done(self, job: Job, run: Run, retry: float | None) -> None:
        if retry is not None:
            self._retry(job, run, retry)
            return
        self._remove(job)
        under_way = any(not each.is_over for each in self.dispatches if each.run_id == run.run_id)
        if run.actions is None or under_way:
            return
        if not any(each.run_id == run.run_id for each in self._runs.jobs):
            self._runs.violations.append(
                f"run {run.run_id}: after the answer to a re-entry nothing will enter it again"
            )

    def _retry(self, job: Job, run: Run, seconds: float | None) -> None:
        if job.attempt + 1 >= self._runs.attempts(run):
            # The run is not ended by that: it stays Running for ever.
            self._remove(job)
            return
        if seconds is None or seconds < 0:
            pauses = self._pace.backoff
            seconds = pauses[min(job.attempt, len(pauses) - 1)] + random.uniform(0, self._pace.jitter_seconds)
        job.attempt += 1
        job.generation += 1
        job.at = self._runs.clock.now() + seconds
        job.is_dispatched = False

    def _remove(self, job: Job) -> None:
        self._runs.jobs = [each for each in self._runs.jobs if each is not job]


async def send(dispatch: Dispatch) -> None:
    """Make a request, and note its answer."""
    request = httpx.Request(dispatch.method, dispatch.url, headers=dispatch.headers, content=dispatch.body)
    timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client:
            response = await client.send(request)
    except httpx.HTTPError as error:
        dispatch.error = f"{type(error).__name__}: {error}"
    else:
        dispatch.response_headers = dict(response.headers)
        dispatch.response = response.content
        dispatch.status = response.status_code
    finally:
        dispatch.is_over = True
