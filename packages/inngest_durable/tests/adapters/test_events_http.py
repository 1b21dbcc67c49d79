"""``POST /_inngest/e/<event key>``: events from others, as Inngest's SDKs send them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from inngest_durable import ConfigurationError, Limits
from inngest_durable._core.model import RunStatus

from packages.inngest_durable.tests.adapters.office import EVENT_KEY, Office, make_office, opened
from testkit.colourless import Web, over_both, step

pytestmark = over_both

URL = f"/_inngest/e/{EVENT_KEY}"


def approval_office(folder: Path, **options: Any) -> Office:
    """Return an application whose one endpoint waits for any approval."""
    office = make_office(folder, "memory", **options)

    async def approval() -> Any:
        event = await step.wait_for_event("approval", event="approved", timeout="1h")
        return msgspec.to_builtins(event)

    office.add("/approval", approval)
    return office


@pytest.fixture
def office(tmp_path: Path, web: Web) -> Office:
    """Make that application, not yet connected."""
    return approval_office(tmp_path)


async def test_event_is_taken_and_wakes_its_runs(office: Office) -> None:
    sent = {"name": "approved", "data": {"n": 1}, "id": "e1", "ts": 5, "user": {"id": 1}, "v": "1"}
    async with opened(office):
        location = await office.parked("/approval")
        answer = await office.post(URL, json=sent)

        assert answer.status_code == 200
        assert answer.json == {"ids": ["e1"], "status": 200}
        assert await office.end(location) == {"name": "approved", "data": {"n": 1}, "id": "e1", "ts": 5}


async def test_several_events_are_taken_together(office: Office) -> None:
    async with opened(office):
        location = await office.parked("/approval")
        answer = await office.post(URL, json=[{"name": "other", "data": None}, {"name": "approved"}])
        ids = (answer.json)["ids"]
        event = await office.end(location)

        assert len(set(ids)) == 2
        assert event == {"name": "approved", "data": {}, "id": ids[1], "ts": int(office.clock.now() * 1000)}


async def test_text_is_as_good_as_a_content_type(office: Office) -> None:
    """Inngest's SDKs do not all name one."""
    async with opened(office):
        answer = await office.post(URL, data=b'{"name": "approved"}', headers={"content-type": "text/plain"})

        assert answer.status_code == 200


@pytest.mark.parametrize("key", ["key-2", "key-", "KEY-1", "k%C3%A9y", "%ED%B3%BF"])
async def test_wrong_key_is_refused(office: Office, key: str) -> None:
    async with opened(office):
        location = await office.parked("/approval")
        answer = await office.post(f"/_inngest/e/{key}", json={"name": "approved"})

        assert answer.status_code == 401
        assert answer.json == {"error": "Event key not found", "status": 401}
        assert office.run(location).status is RunStatus.WAITING


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "The body is no JSON"),
        (b"{", "The body is no JSON"),
        (b"\xff", "The body is no JSON"),
        (b"7", "The event is no JSON object"),
        (b"{}", "The event has no name: it is a non-empty text"),
        (b'{"name": ""}', "The event has no name"),
        (b'{"name": 7}', "The event has no name"),
        (b'{"name": "a", "data": [1]}', "The event, 'a': its data is no JSON object"),
        (b'{"name": "a", "id": 7}', "The event, 'a': its id is no text"),
        (b'{"name": "a", "ts": "now"}', "The event, 'a': its ts is no number of milliseconds since the epoch"),
        (b'{"name": "a", "ts": 1e30}', "The event, 'a': its ts is no number"),
        (b'{"name": "a", "ts": true}', "The event, 'a': its ts is no number"),
        (b'[{"name": "approved"}, {"data": {}}]', "Event 1 has no name"),
        (b'[{"name": "approved"}, 7]', "Event 1 is no JSON object"),
        (b"[" * 100_000, "The body is no JSON"),
        (b'{"name": "a", "data": {"n": ' + b"[" * 200 + b"]" * 200 + b"}}", "The body is nested more than 100 levels"),
    ],
)
async def test_what_is_no_event_is_refused_whole(office: Office, body: bytes, fault: str) -> None:
    """The answer says what is wrong; of an array, nothing is recorded."""
    async with opened(office):
        location = await office.parked("/approval")
        answer = await office.post(URL, data=body)
        said = answer.json

        assert answer.status_code == 400
        assert said["status"] == 400
        assert said["error"].startswith(fault)
        assert office.run(location).status is RunStatus.WAITING


async def test_events_over_a_limit_are_refused_whole(tmp_path: Path) -> None:
    office = approval_office(tmp_path, limits=Limits(event_data=100, request_body=1000))
    large = {"name": "approved", "data": {"text": "x" * 100}}
    async with opened(office):
        location = await office.parked("/approval")
        event = await office.post(URL, json=[{"name": "approved"}, large])
        body = await office.post(URL, json=[{"name": "approved"}] * 100)

        assert (event.status_code, body.status_code) == (413, 413)
        assert "event 'approved': event_data is 111, over the limit of 100" in event.json["error"]
        assert "request_body" in body.json["error"]
        assert office.run(location).status is RunStatus.WAITING


async def test_no_events_are_no_mistake(office: Office) -> None:
    async with opened(office):
        answer = await office.post(URL, json=[])

        assert answer.json == {"ids": [], "status": 200}


@pytest.mark.parametrize("event_key", [None, ""])
async def test_without_a_key_there_is_no_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event_key: str | None
) -> None:
    monkeypatch.delenv("INNGEST_EVENT_KEY", raising=False)
    async with opened(approval_office(tmp_path, event_key=event_key)) as office:
        assert (await office.post("/_inngest/e/", json={"name": "approved"})).status_code == 404
        assert (await office.post("/_inngest/e/x", json={"name": "approved"})).status_code == 404


async def test_key_that_no_url_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the event key has a slash"):
        approval_office(tmp_path, event_key="a/b+c=")


async def test_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_EVENT_KEY", "from-env")
    async with opened(approval_office(tmp_path, event_key=None)) as office:
        answer = await office.post("/_inngest/e/from-env", json={"name": "approved"})

        assert answer.status_code == 200


async def test_other_methods_are_refused(office: Office) -> None:
    async with opened(office):
        assert (await office.get(URL)).status_code == 405
