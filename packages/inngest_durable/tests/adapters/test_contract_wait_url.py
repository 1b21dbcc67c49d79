"""Every answer of the wait URL, at the default URL and behind `endpoint_proxy()` alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.hasty import SPEED, HastyUvicorn
from packages.inngest_durable.tests.adapters.shop import AT_ONCE, cancel, change, open_shop, query_of
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.colourless import (
    EACH_SERVER,
    Response,
    endpoint_adapter,
    over_both,
    over_quart_only,
    request,
    web,
)

pytestmark = over_both

UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
# An answer that took longer was held.
SOON_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    A site and the form of its wait URLs.

    Attributes:
        url: Makes a wait URL of a run's ID and a token; both are put in as they are.
    """

    site: Site
    url: Callable[[str, str], str]

    def new(self, path: str = "/asleep") -> tuple[str, str]:
        """Make a run that is redirected; return its ID and its wait URL."""
        redirect = self.site.get(path)
        assert redirect.status_code == 303
        run_id, location = redirect.headers[RUN_ID], redirect.headers["location"]
        assert location == self.url(run_id, query_of(location)["token"])
        return run_id, location

    def soon(self, url: str, method: str = "GET", **headers: str) -> httpx.Response:
        """Return the answer to a request that must not be held."""
        return self.site.client.request(method, url, headers=headers, timeout=SOON_SECONDS)


def default_url(run_id: str, token: str) -> str:
    """Return the wait URL that is there without options."""
    return f"/_inngest/runs/{run_id}/output?token={token}"


def proxy_url(run_id: str, token: str) -> str:
    """Return the wait URL of ``async_redirect_url="/wait"``."""
    return f"/wait?runId={run_id}&token={token}"


@pytest.fixture(params=["default", "proxy"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return which wait URL the application has."""
    return str(request.param)


@pytest.fixture
def waiting(kind: str, tmp_path: Path, serve: Serve) -> Waiting:
    """Serve the application with each kind of wait URL in turn."""
    if kind == "default":
        shop = open_shop(tmp_path)
        return Waiting(serve(shop.app, shop.inngest), default_url)
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url="/wait"))
    return Waiting(serve(shop.app, shop.inngest), proxy_url)


def all_but_date(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all of a response that does not change by the second."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name != "date"]
    return response.status_code, headers, response.content


def assert_private(response: httpx.Response) -> None:
    """Check that a response stays out of caches, and its URL out of the Referer header."""
    assert response.headers.get_list("cache-control") == ["no-store"]
    assert response.headers.get_list("referrer-policy") == ["no-referrer"]


def test_missing_parameter_is_a_bad_request(waiting: Waiting) -> None:
    """Without a run ID or a token the answer is the same, for a run that exists too."""
    run_id, location = waiting.new()
    token = query_of(location)["token"]
    queries = ["", "?", "?runId=&token=", f"?runId={run_id}", f"?token={token}", f"?runId={run_id}&token="]
    urls = [f"/wait{query}" for query in queries]
    urls += [f"/_inngest/runs/{each}/output{query}" for each in (run_id, "x") for query in ("", "?token=")]
    answers = [waiting.soon(url) for url in urls]

    assert (answers[0].status_code, answers[0].json()) == (400, {"error": "Missing runId or token query parameter"})
    assert all(all_but_date(answer) == all_but_date(answers[0]) for answer in answers)
    assert RUN_ID not in answers[0].headers
    assert_private(answers[0])


def test_stranger_learns_nothing(waiting: Waiting) -> None:
    """An unknown run, a wrong token, and another run's token: one answer, whether the run goes on or has ended."""
    running, location = waiting.new()
    token = query_of(location)["token"]
    finished, finished_location = waiting.new("/flaky?fail=1")
    other_token = query_of(finished_location)["token"]
    assert waiting.site.get(finished_location).status_code == 200
    tokens = [other_token, token[:-1], token + "A", token.swapcase(), "x", "a" * 5_000, "%FF%FE", "%00", quote("tökén")]
    urls = [waiting.url(running, wrong) for wrong in tokens]
    urls += [waiting.url(run_id, token) for run_id in (finished, UNKNOWN, "nonsense", "%FF", "%00", running.lower())]
    for method in ("GET", "HEAD"):
        # None is held, though one of the runs goes on for an hour: nobody is told so by the time it takes.
        answers = [waiting.soon(url, method, Origin="https://shop.example") for url in urls]

        assert {answer.status_code for answer in answers} == {404}
        assert all(all_but_date(answer) == all_but_date(answers[0]) for answer in answers)
        assert RUN_ID not in answers[0].headers
        assert_private(answers[0])
    assert waiting.soon(location, **AT_ONCE).status_code == 303


def test_client_is_sent_round_15_times(waiting: Waiting) -> None:
    """While the run goes on the URL redirects to itself and counts; the 15th time it says to come back later."""
    run_id, location = waiting.new()
    seen = [waiting.soon(location, **AT_ONCE)]
    while seen[-1].is_redirect:
        seen.append(waiting.soon(seen[-1].headers["location"], **AT_ONCE))
    last = seen.pop()

    assert [answer.status_code for answer in seen] == [303] * 14
    assert [answer.headers["location"] for answer in seen] == [f"{location}&n={n}" for n in range(1, 15)]
    assert (last.status_code, last.json()) == (202, {"status": "running", "run_id": run_id})
    assert int(last.headers["retry-after"]) > 0
    for answer in (*seen, last):
        assert answer.headers.get_list(RUN_ID) == [run_id]
        assert_private(answer)
    # A client that does come back begins anew.
    assert waiting.soon(location, **AT_ONCE).headers["location"] == f"{location}&n=1"


def test_unreadable_count_counts_from_the_start(waiting: Waiting) -> None:
    """Whatever a client makes of ``n``, it is redirected with a count that can be read."""
    _, location = waiting.new()
    garbage = ["", "x", "-1", "-99", "1.5", "1e1", "0x5", "²", "9" * 5_000]
    answers = [waiting.soon(f"{location}&n={quote(each)}", **AT_ONCE) for each in garbage]

    assert [(answer.status_code, answer.headers.get("location")) for answer in answers] == [
        (303, f"{location}&n=1")
    ] * len(garbage)


def test_count_beyond_the_last_round_ends_the_rounds(waiting: Waiting) -> None:
    """A larger count than ours is still the end of the rounds."""
    _, location = waiting.new()

    assert waiting.soon(f"{location}&n=1000000", **AT_ONCE).status_code == 202


def test_other_parameters_are_kept(waiting: Waiting) -> None:
    """A parameter that the application put into the URL is there at each round, as it was."""
    _, location = waiting.new()
    answer = waiting.soon(f"{location}&lang=d%C3%A9%26x&n=3", **AT_ONCE)

    assert query_of(answer.headers["location"]) == {**query_of(location), "lang": "dé&x", "n": "4"}


def test_prefer_wait_is_read(waiting: Waiting) -> None:
    """A client that does not want to wait is answered at once, however it writes that down."""
    _, location = waiting.new()
    ways = ["wait=0", "WAIT=0", "wait = 0", 'wait="0"', "respond-async, wait=0", "wait=0;x=y", "wait=0, return=minimal"]

    assert [waiting.soon(location, Prefer=prefer).status_code for prefer in ways] == [303] * len(ways)


def test_prefer_may_be_sent_in_several_lines(waiting: Waiting) -> None:
    """A list in two header lines is the same list as in one (RFC 9110, 5.3)."""
    _, location = waiting.new()
    headers = [("Prefer", "respond-async"), ("Prefer", "wait=0")]
    answer = waiting.site.get(location, headers=headers, timeout=SOON_SECONDS)

    assert answer.status_code == 303


PREFER_GARBAGE = ["", "wait", "wait=", "wait=x", "wait=-0", "wait=0.0", "nowait=0", "wait=0s", "handling=lenient"]


def test_unreadable_prefer_holds_as_without(waiting: Waiting) -> None:
    """Preferences that say nothing of waiting, or nothing that can be read, change nothing."""
    _, location = waiting.new("/slow")
    path = location.split("?")[0]
    waiting.site.outside.wait_for("held")
    with ThreadPoolExecutor(len(PREFER_GARBAGE)) as pool:
        held = [pool.submit(waiting.site.get, location, headers={"Prefer": prefer}) for prefer in PREFER_GARBAGE]
        waiting.site.visits.wait_for(path, len(PREFER_GARBAGE))
        # A request that is not held is answered before one that comes later.
        assert waiting.soon(location, **AT_ONCE).status_code == 303
        waiting.site.outside.open("held")
        answers = [(answer.result().status_code, answer.result().text) for answer in held]

    assert answers == [(200, "held#1")] * len(PREFER_GARBAGE)


@over_quart_only
def test_request_is_held_for_25_seconds_at_most(tmp_path: Path, serve: Serve) -> None:
    """Without a wish, and with a larger one, a request is held for 25 s; a smaller wish is granted."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest, HastyUvicorn)
    location = site.get("/asleep").headers["location"]

    def hold(prefer: str) -> tuple[int, float]:
        began = time.monotonic()
        answer = site.get(location, headers={"Prefer": prefer})
        return answer.status_code, (time.monotonic() - began) * SPEED

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(hold, ["respond-async", "wait=600", "wait=99999999999", "wait=13"]))

    assert [status for status, _ in answers] == [303] * 4
    for (_, took), wanted in zip(answers, [25, 25, 25, 13], strict=True):
        # What the machine adds weighs 25 times, since the world's seconds are long for this server.
        assert wanted - 0.5 <= took < wanted + 10 * SPEED


def test_finished_run_answers_as_the_handler_did(waiting: Waiting) -> None:
    """Status, body and headers of the handler; ours come on top, once each."""
    run_id, location = waiting.new("/flaky?fail=1")
    waiting.site.records.wait_for_end(run_id)
    straight = waiting.site.get("/flaky")
    ours = {"cache-control", "referrer-policy", RUN_ID, "content-length", "date", "server"}
    answers = [waiting.soon(location), waiting.soon(f"{location}&n=14", **AT_ONCE)]

    for answer in answers:
        assert (answer.status_code, answer.text) == (200, "flaky#2")
        assert {name: value for name, value in answer.headers.items() if name not in ours} == {
            name: value for name, value in straight.headers.items() if name not in ours
        }
        assert answer.headers.get_list(RUN_ID) == [run_id]
        assert_private(answer)


@pytest.mark.parametrize("server", EACH_SERVER)
def test_head_is_get_without_the_body(tmp_path: Path, serve: Serve, server: int) -> None:
    """HEAD of a run that goes on, has ended, was cancelled or is unknown has GET's headers and no body."""
    shop = open_shop(tmp_path)
    waiting = Waiting(serve(shop.app, shop.inngest, web().servers[server]), default_url)
    (_, running), (finished_id, finished), (cancelled_id, cancelled) = (
        waiting.new(path) for path in ("/asleep", "/flaky?fail=1", "/asleep")
    )
    waiting.site.records.wait_for_end(finished_id)
    cancel(waiting.site.records.path, cancelled_id)
    urls = [running, f"{running}&n=14", finished, cancelled, waiting.url(UNKNOWN, "token"), waiting.url(UNKNOWN, "")]
    # On one connection: a byte of a body that should not be there would spoil the next answer.
    pairs = [[waiting.soon(url, method, **AT_ONCE) for method in ("HEAD", "GET")] for url in urls]

    assert [get.status_code for _, get in pairs] == [303, 202, 200, 410, 404, 400]
    assert all(head.content == b"" for head, _ in pairs)
    assert [all_but_date(head)[:2] for head, _ in pairs] == [all_but_date(get)[:2] for _, get in pairs]


def test_cancelled_run_is_gone(waiting: Waiting) -> None:
    """A run that was cancelled answers 410 from then on."""
    run_id, location = waiting.new()
    cancel(waiting.site.records.path, run_id)
    answer = waiting.soon(location)

    assert (answer.status_code, answer.json()) == (410, {"status": "cancelled", "run_id": run_id})
    assert answer.headers.get_list(RUN_ID) == [run_id]
    assert_private(answer)


def test_held_request_hears_of_a_cancellation_by_another_process(waiting: Waiting) -> None:
    """Who waits while another process cancels the run is told at once, not when the hold is over."""
    run_id, location = waiting.new()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(waiting.soon, location)
        waiting.site.visits.wait_for(location.split("?")[0])
        cancel(waiting.site.records.path, run_id)

        assert held.result(SOON_SECONDS).status_code == 410


def test_end_without_a_response_is_an_error(waiting: Waiting) -> None:
    """A run that has ended and recorded nothing answers 500, and says so."""
    run_id, location = waiting.new()
    change(waiting.site.records.path, "UPDATE runs SET status = 'failed', wake_at = NULL WHERE id = ?", (run_id,))
    answer = waiting.soon(location)

    assert answer.status_code == 500
    assert answer.json()["run_id"] == run_id
    assert_private(answer)


def test_caching_headers_of_the_handler_are_not_for_the_wait_url(tmp_path: Path, serve: Serve) -> None:
    """An answer that may be cached under its own URL must not be under the one that holds the token."""
    shop = open_shop(tmp_path)

    @shop.app.after_request
    async def cache(response: Response) -> Response:
        response.headers["Cache-Control"] = "public, max-age=3600"
        response.headers["Referrer-Policy"] = "unsafe-url"
        return response

    site = serve(shop.app, shop.inngest)
    redirect = site.get("/flaky?fail=1")
    answer = site.get(redirect.headers["location"])

    assert site.get("/flaky").headers["cache-control"] == "public, max-age=3600"
    assert_private(redirect)
    assert_private(answer)


def test_hook_that_refuses_the_wait_url_is_obeyed(tmp_path: Path, serve: Serve) -> None:
    """The wait URL is a view of the application: who may not see it gets the hook's answer, not the run's."""
    shop = open_shop(tmp_path)

    @shop.app.before_request
    async def refuse() -> tuple[str, int] | None:
        return (
            ("members only", 403)
            if request.path.startswith("/_inngest") and "x-member" not in request.headers
            else None
        )

    site = serve(shop.app, shop.inngest)
    location = site.get("/flaky?fail=1").headers["location"]

    assert (site.get(location).status_code, site.get(location).text) == (403, "members only")
    assert site.get(location, headers={"X-Member": "yes"}).text == "flaky#2"
