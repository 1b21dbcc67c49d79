"""Followers of a run: what is in a stream of events, read as a browser reads it."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Heard:
    """One event of a stream."""

    id: str
    kind: str
    data: dict[str, Any]


def heard(lines: Iterator[str]) -> Iterator[Heard]:
    """Yield the events in the lines of a stream; comments and hints are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield Heard(fields["id"], fields["event"], json.loads(fields["data"]))
            fields = {}


def follow(client: httpx.Client, url: str, last: str = "") -> Generator[Heard, None, None]:
    """Yield the events that *url* streams, after the *last* one that was seen."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    with client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, response.status_code
        assert response.headers["content-type"].startswith("text/event-stream")
        yield from heard(response.iter_lines())


def until(events: Iterator[Heard], kind: str) -> list[Heard]:
    """Return the events up to the first one of *kind*."""
    found = []
    for event in events:
        found.append(event)
        if event.kind == kind:
            return found
    raise AssertionError(f"the stream ended without {kind}: {found}")


def kinds(events: list[Heard]) -> list[str]:
    """Return what happened: the kind, and the step that it is about."""
    return [" ".join(filter(None, [event.kind, event.data.get("step")])) for event in events]
