"""Signatures of requests, against one that a real server has sent."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inngest_durable.engines.inngest.signing import api_key, is_key, is_signed, sign

KEY = "ab12cd34" * 8
OTHER = "00ff" * 16
# Sent by a self-hosted server with this key, for a request without a body.
SENT = "t=1795354231&s=80d6509b9515c75d7d4529289032149ac4cd87f9baa55529a189d892e57d5616"
SENT_AT = 1795354231
# What a client sent to authenticate with this key.
BEARER = "f936c15b3f8831d8d5106c8aacc86461685f581ccd7cf045e7d3de263a82de33"


def test_signature_is_the_one_a_server_sends() -> None:
    assert sign(b"", KEY, SENT_AT) == SENT
    assert is_signed(b"", SENT, [KEY], SENT_AT)


def test_key_for_the_api_is_hashed_behind_its_prefix() -> None:
    assert api_key(KEY) == BEARER
    assert api_key(f"signkey-prod-{KEY}") == f"signkey-prod-{BEARER}"
    assert hashlib.sha256(bytes.fromhex(KEY)).hexdigest() == BEARER


def test_prefix_is_no_part_of_the_secret() -> None:
    assert sign(b"", f"signkey-prod-{KEY}", SENT_AT) == SENT
    assert sign(b"", f"signkey-branch-{KEY}", SENT_AT) == SENT


def test_other_key_counts_while_keys_are_replaced() -> None:
    assert is_signed(b"", SENT, [OTHER, KEY], SENT_AT)
    assert not is_signed(b"", SENT, [OTHER], SENT_AT)
    assert not is_signed(b"", SENT, [], SENT_AT)


@pytest.mark.parametrize(("away", "good"), [(-301, False), (-300, True), (240, True), (300, True), (301, False)])
def test_signature_counts_for_five_minutes(away: int, good: bool) -> None:
    assert is_signed(b"", SENT, [KEY], SENT_AT + away) is good


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=&s=",
        SENT.upper(),
        SENT.replace("80d6", "80d7"),
        SENT + " ",
        SENT + "&t=1",
        f"s={SENT.partition('s=')[2]}",
        SENT.replace("t=1795354231", "t=9" * 40),
        SENT.replace("t=", "t=-"),
        SENT.replace("t=1795354231", "t=\u0661795354231"),
        "t=1795354231&s=" + "\xe9" * 64,
    ],
)
def test_header_of_another_form_is_no_signature(header: str) -> None:
    assert not is_signed(b"", header, [KEY], SENT_AT)


@settings(deadline=None, derandomize=True)
@given(st.binary(), st.binary(), st.integers(min_value=0, max_value=2**33))
def test_signature_is_of_these_bytes_alone(body: bytes, other: bytes, at: int) -> None:
    header = sign(body, KEY, at)

    assert is_signed(body, header, [KEY], float(at))
    assert is_signed(other, header, [KEY], float(at)) is (body == other)


@pytest.mark.parametrize("key", [KEY, f"signkey-test-{KEY}", "AB"])
def test_key_is_hexadecimal(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "abc", "ab cd", "signkey-prod-", "signkey-prod-xyz", "nonsense", "ab\n"])
def test_key_of_another_form_is_none(key: str) -> None:
    assert not is_key(key)
