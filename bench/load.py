"""
One round of load on one URL: by wrk where it is to be had, else by the asyncio client at the end of this module.

Both run in a process of their own, for a bounded time, and only against the loopback interface.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from testkit.processes import install_debian_package

# Runs once, after the load: the figures of wrk's own report, without their rounding. Latencies are in microseconds.
WRK_REPORT = """
done = function(summary, latency, requests)
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
    + summary.errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round measured."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


class LoadError(Exception):
    """The load client did not run as it should, so its figures say nothing."""


def find_wrk() -> str | None:
    """Return the path of wrk, which is installed first if this is root on Debian; `None` if it is not to be had."""
    if path := shutil.which("wrk"):
        return path
    return shutil.which("wrk") if install_debian_package("wrk") else None


def measure(url: str, *, connections: int, seconds: int, wrk: str | None, folder: Path) -> Round:
    """Load *url* over *connections* kept open for *seconds*; *folder* is for a script that wrk reads."""
    if urlsplit(url).hostname != "127.0.0.1":
        raise LoadError(f"only the loopback interface may be loaded, not {url}")
    if wrk:
        script = folder / "report.lua"
        script.write_text(WRK_REPORT)
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    else:
        command = [sys.executable, "-m", "bench.load", url, str(connections), str(seconds)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if finished.returncode != 0:
        raise LoadError(f"{command[0]} failed: {finished.stderr or finished.stdout}")
    return Round(**json.loads(finished.stdout.splitlines()[-1]))


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """Send one GET on an open connection; return the status and the body."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    return status, await reader.readexactly(length)


async def load(url: str, connections: int, seconds: float) -> Round:
    """Keep *connections* busy for *seconds*, each with one request at a time."""
    parts = urlsplit(url)
    latencies: list[float] = []
    errors = 0

    async def keep_asking() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while (started := time.perf_counter()) < deadline:
            status, _ = await ask(reader, writer, parts.path)
            errors += status != 200
            latencies.append((time.perf_counter() - started) * 1000)
        writer.close()

    begun = time.perf_counter()
    deadline = begun + seconds
    await asyncio.gather(*(keep_asking() for _ in range(connections)))
    taken = time.perf_counter() - begun
    latencies.sort()
    at = [latencies[int(len(latencies) * share)] for share in (0.5, 0.99)]
    return Round(requests=len(latencies), seconds=taken, p50_ms=at[0], p99_ms=at[1], errors=errors)


def main() -> None:
    """Measure what the command line says and print it as JSON."""
    url, connections, seconds = sys.argv[1:]
    result = asyncio.run(load(url, int(connections), float(seconds)))
    print(json.dumps({name: getattr(result, name) for name in Round.__slots__}))


if __name__ == "__main__":
    main()
