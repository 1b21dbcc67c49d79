"""Durations as users write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from inngest_durable._core.duration import seconds, timestamp


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", 0.25),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("24h", 86_400.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("0s", 0.0),
        ("1h30m", 5_400.0),
        ("1m 500ms", 60.5),
        (" 10 s ", 10.0),
    ],
)
def test_seconds_reads_numbers_with_units(text: str, expected: float) -> None:
    """Units from milliseconds to weeks, alone or together."""
    assert seconds(text) == pytest.approx(expected)


def test_seconds_takes_a_timedelta() -> None:
    """A timedelta is a duration."""
    assert seconds(timedelta(days=1, milliseconds=5)) == 86_400.005


@pytest.mark.parametrize(
    "wrong", ["", "  ", "30", "s", "-1s", "1 fortnight", "30s later", "1e3s", "1.s", "s30", 30, 1.5, None], ids=repr
)
def test_seconds_refuses_what_is_no_duration(wrong: Any) -> None:
    """The error quotes what was given and shows how to write it."""
    with pytest.raises(ValueError, match='use a timedelta or a text such as "30s"') as raised:
        seconds(wrong)

    assert repr(wrong) in str(raised.value)


def test_seconds_refuses_a_negative_timedelta() -> None:
    """Time does not go backwards."""
    with pytest.raises(ValueError, match="cannot be negative"):
        seconds(timedelta(seconds=-1))


def test_seconds_refuses_what_no_float_holds() -> None:
    """It would be written as ``Infinity``, which is not JSON."""
    with pytest.raises(ValueError, match="cannot be infinite"):
        seconds("9" * 400 + "s")


def test_timestamp_is_the_same_moment_in_every_zone() -> None:
    """An aware datetime means one instant."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert timestamp(noon) == 1_767_268_800.0
    assert timestamp(noon.astimezone(timezone(timedelta(hours=-5)))) == timestamp(noon)


@pytest.mark.parametrize("wrong", ["2026-01-01T12:00:00Z", 1_767_268_800, date(2026, 1, 1), None])
def test_timestamp_refuses_what_is_no_datetime(wrong: Any) -> None:
    """The error quotes what was given."""
    with pytest.raises(ValueError, match="is no datetime"):
        timestamp(wrong)


def test_timestamp_refuses_a_datetime_without_zone() -> None:
    """It would mean another instant on another machine."""
    with pytest.raises(ValueError, match="has no time zone"):
        timestamp(datetime(2026, 1, 1))  # noqa: DTZ001
