"""IDs of runs and workers."""

from __future__ import annotations

import time
from collections import Counter

from inngest_durable.engines.ulids import new_ulid, ulid_of, ulid_time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def test_times_are_those_of_the_specification() -> None:
    """The example of the ULID specification, the first millisecond and the last."""
    assert ulid_time(1469918176.385) == "01ARYZ6S41"
    assert ulid_time(0) == "0000000000"
    assert ulid_time((2**48 - 1) / 1000) == "7ZZZZZZZZZ"


def test_ids_sort_by_the_time_they_were_made() -> None:
    """What retention and the indexes rest on."""
    before = ulid_time(time.time())
    made = new_ulid()

    assert before <= made[:10] <= ulid_time(time.time())
    assert ulid_time(1.001) < ulid_time(1.002) < ulid_time(2.0) < ulid_time(1e9)


def test_ids_are_random_in_every_letter() -> None:
    """None twice, and each letter about as often as the next: 16 letters of 5 bits."""
    ids = {new_ulid() for _ in range(4000)}
    letters = Counter("".join(made[10:] for made in ids))

    assert len(ids) == 4000
    assert {len(made) for made in ids} == {26}
    assert set(letters) == set(ALPHABET)
    assert max(letters.values()) < 1.3 * min(letters.values())


def test_a_ulid_can_be_made_of_a_digest() -> None:
    made = ulid_of(1_700_000_000.5, bytes(range(32)))
    assert made == ulid_of(1_700_000_000.5, bytes(range(10)))
    assert (made[:10], len(made)) == (ulid_time(1_700_000_000.5), 26)
    assert ulid_of(0, b"\0" * 9 + b"\x21") == "0" * 24 + "11"
    assert len({ulid_of(0, bytes([n] * 10)) for n in range(256)}) == 256
