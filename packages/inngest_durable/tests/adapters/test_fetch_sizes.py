"""`step.fetch` takes in what a step may record, and no more of an answer that is larger."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import Limits, StepError

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import over_both, step
from testkit.third_party import ThirdParty
from testkit.waiting import PATIENCE_SECONDS

pytestmark = over_both

KIB, MIB = 1024, 1024 * 1024
LIMIT = 1 * MIB


def fetching(folder: Path, api: ThirdParty) -> Office:
    """Return an application that tells the size of the third party's answer, or why it got none."""
    office = make_office(folder, "memory", real_time=True, limits=Limits(step_result=LIMIT))

    async def size() -> Any:
        try:
            return {"size": len((await step.fetch("ask", api.url)).body)}
        except StepError as error:
            return {"error": error.name, "message": error.message, "attempts": error.attempt}

    office.add("/size", size)
    return office


def endless_zeros() -> Iterator[bytes]:
    """Give a compressed body without an end: small, but a thousand times as large in memory."""
    packing = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    zeros = bytes(MIB)
    while True:
        yield packing.compress(zeros)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
async def test_body_without_an_end_is_cut_off(tmp_path: Path, api: ThirdParty, packed: bool) -> None:
    """At the limit for the result of a step, and it is not asked for again."""
    if packed:
        api.answers = [(200, {"content-encoding": "gzip"}, endless_zeros())]
    else:
        api.answers = [(200, {}, itertools.repeat(bytes(64 * KIB)))]
    async with opened(fetching(tmp_path, api)) as office, asyncio.timeout(PATIENCE_SECONDS):
        answer = await office.end("/size")

    assert (answer["error"], answer["attempts"], len(api.asked)) == ("LimitExceededError", 1, 1)
    assert answer["message"].startswith("step_result is ")
    assert "over the limit of 1,048,576: raise it with Inngest(limits=Limits(step_result=" in answer["message"]


async def test_body_of_a_redirect_is_not_read(tmp_path: Path, api: ThirdParty) -> None:
    """However long it is: what counts is where it leads."""
    api.answers = [(302, {"location": "/elsewhere"}, itertools.repeat(bytes(64 * KIB))), (200, {}, b"here")]
    async with opened(fetching(tmp_path, api)) as office, asyncio.timeout(PATIENCE_SECONDS):
        answer = await office.end("/size")

    assert answer == {"size": 4}


async def test_body_that_is_compressed_twice_is_refused(tmp_path: Path, api: ThirdParty) -> None:
    """A few hundred bytes could be any number by then."""
    twice = gzip.compress(gzip.compress(bytes(100 * MIB)))
    api.answers = [(200, {"content-encoding": "gzip, gzip"}, twice)]
    async with opened(fetching(tmp_path, api)) as office:
        answer = await office.end("/size")

    assert (answer["error"], answer["attempts"]) == ("NonRetriableError", 1)
    assert "is compressed more than once: gzip, gzip" in answer["message"]


async def test_body_that_grows_when_decompressed_takes_little_memory(tmp_path: Path, api: ThirdParty) -> None:
    api.answers = [(200, {"content-encoding": "gzip"}, gzip.compress(bytes(100 * MIB)))]
    async with opened(fetching(tmp_path, api)) as office:
        tracemalloc.start()
        try:
            answer = await office.end("/size")
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert answer["error"] == "LimitExceededError"
    assert most < 16 * MIB


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
async def test_body_within_the_limit_is_whole(tmp_path: Path, api: ThirdParty, packed: bool) -> None:
    """It is recorded in base64, so three quarters of the limit fit."""
    body = bytes(range(256)) * 2 * KIB
    api.answers = [(200, {"content-encoding": "gzip"}, gzip.compress(body)) if packed else (200, {}, body)]
    async with opened(fetching(tmp_path, api)) as office:
        assert await office.end("/size") == {"size": len(body)}
