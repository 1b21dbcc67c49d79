"""
What the fake server and an SDK must agree on, written again: hashes, signatures, tokens, durations. Pure.

Nothing of the SDK is imported by the fake, so that a mistake on one side is not made on the other too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import uuid
from datetime import UTC, datetime
from typing import Any

# The constant that both `inngest dev` and `inngest start` sign run tokens with.
TOKEN_SECRET = b"dev-mode-is-not-secret"
TOKEN_SECONDS = 3600
# Beyond it, a number is written with an exponent.
_EXPONENT_FROM = 1e21
ENV_ID = "00000000-0000-4000-b000-000000000000"

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_KEY_PREFIX = re.compile(r"^signkey-\w+-")
_ULID = re.compile(rf"[0-7][{_CROCKFORD}]{{25}}")
_DURATION = re.compile(r"(-?)((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|w|d|h|m|s))+)")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|w|d|h|m|s)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EVENT_NAME = re.compile(r"event\.|(?<![\w.'\"])event\b(?!['\"])")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def step_hash(text: str) -> str:
    """Return the ID that an opcode has on the wire."""
    return hashlib.sha1(text.encode()).hexdigest()


RUN_COMPLETE = step_hash("complete")


def new_ulid(at: float) -> str:
    """Return a new ULID for the time *at*, in seconds since the epoch."""
    number = int(at * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in range(25, -1, -1))


def is_ulid(text: object) -> bool:
    """Tell whether *text* is a ULID."""
    return isinstance(text, str) and _ULID.fullmatch(text) is not None


def stable_uuid(*parts: str) -> str:
    """Return the UUID that always stands for *parts*."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(parts)))


def without_prefix(key: str) -> str:
    """Return a signing key without its ``signkey-…-``."""
    return _KEY_PREFIX.sub("", key)


def hashed_key(key: str) -> str:
    """Return what authenticates API calls, without the prefix that clients put back in front."""
    return hashlib.sha256(bytes.fromhex(without_prefix(key))).hexdigest()


def signature(body: bytes, key: str, at: int) -> str:
    """Return the signature header of a re-entry with *body* at *at*, in whole seconds since the epoch."""
    mac = hmac.new(without_prefix(key).encode(), body + str(at).encode(), hashlib.sha256)
    return f"t={at}&s={mac.hexdigest()}"


def run_token(run_id: str, now: float, secret: bytes = TOKEN_SECRET) -> str:
    """Return the token with which a client may read the output of a run for an hour."""
    claims = {"iss": "api.inngest.com", "sub": "run-claim", "exp": int(now) + TOKEN_SECONDS, "iat": int(now)}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part({**claims, 'Env': ENV_ID, 'RunID': run_id})}"
    return f"{signed}.{_unpadded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def run_of_token(token: str, now: float) -> str | None:
    """Return the ID of the run that *token* opens; None if it is forged, expired or no token."""
    signed, _, mac = token.rpartition(".")
    expected = _unpadded(hmac.new(TOKEN_SECRET, signed.encode(), hashlib.sha256).digest())
    if not signed or not hmac.compare_digest(mac.encode(), expected.encode()):
        return None
    claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
    if claims.get("sub") != "run-claim" or claims.get("exp", 0) <= now:
        return None
    return str(claims["RunID"])


def from_base64(text: object) -> bytes | None:
    """Return what the padded standard base64 *text* stands for; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


def duration(text: object) -> float | None:
    """Return the seconds of a duration such as ``"1h30m"`` or ``"1.5s"``; None if it is none."""
    if text == "0":
        return 0.0
    if not isinstance(text, str) or (found := _DURATION.fullmatch(text)) is None:
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(found[2]))
    return -total if found[1] else total


def time_left(text: object, now: float) -> float | None:
    """Return the seconds from *now* that a duration or an RFC 3339 time stands for; None if *text* is neither."""
    if (seconds := duration(text)) is not None:
        return seconds
    try:
        deadline = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (deadline if deadline.tzinfo else deadline.replace(tzinfo=UTC)).timestamp() - now


def mentions_event(expression: str) -> bool:
    """Tell whether the server takes a CEL expression to refer to ``event``: it looks for ``event.`` in any place."""
    return _EVENT_NAME.search(expression) is not None


def is_uuid(text: object) -> bool:
    """Tell whether *text* is a UUID."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def as_decoded(value: Any) -> Any:
    """Return *value* as the server keeps it: keys are sorted, and numbers are doubles."""
    if isinstance(value, dict):
        return {key: as_decoded(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [as_decoded(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < _EXPONENT_FROM else number
    return value


def compact(value: Any) -> bytes:
    """Return *value* as JSON in the server's form: no spaces, a newline at the end."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        # Half of a surrogate pair, which only an escape can express.
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def rfc3339(at: float) -> str:
    """Return the time *at*, in seconds since the epoch, as the API writes it."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _part(claims: dict[str, Any]) -> str:
    return _unpadded(json.dumps(claims, separators=(",", ":")).encode())


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
