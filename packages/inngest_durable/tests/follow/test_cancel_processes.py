"""Two server processes on one database: what one of them cancels, the other one leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from inngest_durable._pass import LOOK_SECONDS

from packages.inngest_durable.tests.follow import app
from testkit.forks import ForkedSite, Zygote
from testkit.site_process import SiteProcess
from testkit.waiting import wait_until


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """Run the process that servers are forked from."""
    with closing(Zygote()) as zygote:
        yield zygote


@pytest.fixture(params=["quart", "flask"])
def two(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Iterator[list[SiteProcess]]:
    """Serve the application in two processes, on each framework."""
    factory = f"{app.__name__}:create_{request.param}_app"
    with ExitStack() as stack:
        yield [stack.enter_context(closing(ForkedSite(zygote, factory, tmp_path))) for _ in range(2)]


def delete(site: SiteProcess, location: str) -> int:
    """Cancel the run that is awaited there; return the status of the answer."""
    return httpx.delete(f"http://127.0.0.1:{site.port}{location}", timeout=20, trust_env=False).status_code


def reached_plain_code(site: SiteProcess) -> int:
    """Return the process whose pass of `between` is in code of its own, once the last look there is too old."""
    site.outside.wait_for("plain")
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > LOOK_SECONDS, "the next look to be due")
    pid: int = site.outside.calls("plain")[0]["pid"]
    return pid


def test_run_of_one_process_is_cancelled_by_the_other(two: list[SiteProcess]) -> None:
    """Its handler is between two steps: the second one does not begin, and the client is told."""
    first, other = two
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(first.get, "/between")
        assert reached_plain_code(first) == first.process.popen.pid
        run = first.records.wait_for_only_run("running")
        assert delete(other, *other.records.wait_paths(run.id)) == 202
        first.outside.open("plain")

        assert answering.result(20).status_code == 410
    assert first.outside.counts() == {"one": 1, "plain": 1, "left": 1}


def test_child_in_another_process_than_its_cancelled_parent(two: list[SiteProcess]) -> None:
    """Whichever process executes it, the other one cancels its parent."""
    location = two[0].get("/caller").headers["location"]
    pid = reached_plain_code(two[0])
    (other,) = [site for site in two if site.process.popen.pid != pid]
    assert delete(other, location) == 202
    statuses = [run.status for run in other.records.runs()]
    two[0].outside.open("plain")
    two[0].outside.wait_for("left")

    assert statuses == ["cancelled", "cancelled"]
    assert two[0].outside.counts() == {"one": 1, "plain": 1, "left": 1}
