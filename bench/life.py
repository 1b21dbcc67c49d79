"""
What a benchmark of requests does not show: `python -m bench.life`.

How long after a kill a run is completed, what 10,000 sleeping runs cost and how late they wake, and what two workers on
one file do against two plain ones.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx
from inngest_durable._core.model import Park, RecordedRequest, Run
from inngest_durable.engines.embedded.store import SqliteStore
from inngest_durable.engines.records import Insert, ParkRun
from inngest_durable.engines.ulids import new_ulid

from bench.load import find_wrk, measure
from bench.servers import ROOT, Server, uvicorn
from testkit.ports import free_port
from testkit.processes import Process, answer_status
from testkit.waiting import wait_until

RESTARTS = 5
SLEEPERS = 10_000
# Time to write the sleepers and to start the server, and then to look at it while it is idle.
ASLEEP_SECONDS, IDLE_SECONDS = 25.0, 5.0
REQUEST = RecordedRequest("GET", "http", "", "/woken", b"/woken", b"", ((b"host", b"x"),), None, None, "1.1", b"")


def serve(folder: Path, database: Path) -> tuple[Process, int]:
    """Start `bench.life_app`; return it, and its port."""
    port = free_port()
    command = [*uvicorn("app", port)]
    command[3] = "bench.life_app:app"
    env = {"INNGEST_DURABLE_DB": str(database), "DIED": str(folder / "died")}
    return Process(command, env=env, cwd=ROOT, log=folder / "life.log"), port


def restart_seconds() -> float:
    """Return the time from the start of a new process to the completion of the run that killed the one before."""
    with tempfile.TemporaryDirectory(prefix="life-") as name:
        folder = Path(name)
        database = folder / "durable.db"
        process, port = serve(folder, database)
        process.wait_ready(lambda: answer_status(port) == 404)
        with suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/five", timeout=30)
        wait_until(lambda: not process.running, "the server to die")
        started = time.time()
        process, _ = serve(folder, database)
        try:
            with closing(sqlite3.connect(database, timeout=5)) as reader:
                query = "SELECT ended_at FROM runs WHERE status = 'completed'"
                ended: float = wait_until(lambda: reader.execute(query).fetchone(), "the run to be completed")[0]
        finally:
            process.stop()
        return ended - started


async def put_to_sleep(database: Path, number: int, wake_at: float) -> None:
    """Write runs that sleep until *wake_at*, as their passes would have left them."""
    store = SqliteStore(database, synchronous="NORMAL")
    store.open()
    writes = []
    for _ in range(number):
        run = Run(new_ulid(), "life", "woken", REQUEST, time.time())
        writes.append(store.write(Insert(run), ParkRun(run.id, run.epoch, Park(wake_at, 1))))
    await asyncio.gather(*writes)
    await store.close()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int) -> int:
    """Return the memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def sleepers() -> str:
    """Return what sleeping runs cost, and how late they wake."""
    with tempfile.TemporaryDirectory(prefix="life-") as name:
        folder = Path(name)
        idle, port = serve(folder, folder / "empty.db")
        idle.wait_ready(lambda: answer_status(port) == 404)
        empty_kib = resident_kib(idle.pid)
        idle.stop()

        database = folder / "durable.db"
        wake_at = time.time() + ASLEEP_SECONDS
        asyncio.run(put_to_sleep(database, SLEEPERS, wake_at))
        process, port = serve(folder, database)
        try:
            process.wait_ready(lambda: answer_status(port) == 404)
            added = (resident_kib(process.pid) - empty_kib) * 1024 / SLEEPERS
            before = cpu_seconds(process.pid)
            time.sleep(IDLE_SECONDS)
            share = (cpu_seconds(process.pid) - before) / IDLE_SECONDS
            if time.time() > wake_at:
                return "the machine is too slow: the runs woke before the measurement was over"
            with closing(sqlite3.connect(database, timeout=5)) as reader:
                left = "SELECT count(*) FROM runs WHERE ended_at IS NULL"
                wait_until(lambda: not reader.execute(left).fetchone()[0], "all to end", timeout_seconds=120)
                (last,) = reader.execute("SELECT max(ended_at) FROM runs").fetchone()
        finally:
            process.stop()
        return (
            f"{added:.0f} bytes each, {share:.2%} of a core while idle, the last completed {last - wake_at:.1f} s late"
        )


def two_workers() -> str:
    """Return the requests per second of two workers on one file, and of two plain ones."""
    wrk = find_wrk()

    def pair(app: str, port: int) -> list[str]:
        return [*uvicorn(app, port), "--workers", "2"]

    with tempfile.TemporaryDirectory(prefix="life-") as name:
        folder = Path(name)
        rates: dict[str, list[float]] = {"plain_app": [], "durable_app": []}
        with (
            Server("plain_app", database=None, folder=folder, serve=pair) as plain,
            Server("durable_app", database=folder / "durable.db", folder=folder, serve=pair) as durable,
        ):
            for _ in range(5):
                for app, server in (("plain_app", plain), ("durable_app", durable)):
                    done = measure(server.url, connections=32, seconds=2, wrk=wrk, folder=folder)
                    rates[app].append(done.per_second)
    plain_rate, durable_rate = (statistics.median(rates[app]) for app in ("plain_app", "durable_app"))
    return f"{durable_rate:,.0f} of {plain_rate:,.0f} requests/s: {durable_rate / plain_rate:.2f}"


def main() -> int:
    """Measure and print."""
    print(f"Two workers on one file, 32 connections: {two_workers()}", flush=True)
    restarts = [restart_seconds() for _ in range(RESTARTS)]
    told = ", ".join(f"{seconds:.2f}" for seconds in restarts)
    print(f"From exec to completed after a kill: median {statistics.median(restarts):.2f} s of {told}", flush=True)
    print(f"{SLEEPERS:,} sleeping runs: {sleepers()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
