"""IDs of runs and workers."""

from __future__ import annotations

import time
from collections import Counter

from inngest_durable.engines.embedded.ulids import new_ulid, ulid_time

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
