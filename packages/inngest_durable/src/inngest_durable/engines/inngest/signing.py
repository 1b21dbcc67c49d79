"""How requests between the Inngest server and this process prove who sent them. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

_PREFIX = re.compile(r"signkey-\w+-")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_SIGNATURE = re.compile(r"t=([0-9]{1,12})&s=([0-9a-f]{64})")


def is_key(key: str) -> bool:
    """Return whether *key* is a signing key: whole bytes in hex, with or without a prefix such as ``signkey-prod-``."""
    return _HEX.fullmatch(_split(key)[1]) is not None


def api_key(key: str) -> str:
    """Return what authenticates calls of the API: the digest of a signing key, behind the key's own prefix."""
    prefix, bare = _split(key)
    return prefix + hashlib.sha256(bytes.fromhex(bare)).hexdigest()


def sign(body: bytes, key: str, at: int) -> str:
    """
    Return the signature of *body*, as the header ``X-Inngest-Signature`` carries it.

    Args:
        body: The bytes as they are sent; nothing else of a request is signed.
        key: A signing key. Its text is the secret, not the bytes it stands for.
        at: When it is signed, in seconds since the epoch.
    """
    return f"t={at}&s={_digest(body, key, str(at))}"


def is_signed(body: bytes, header: str, keys: Sequence[str], now: float, window_seconds: float = 300.0) -> bool:
    """
    Return whether *header* is the signature of *body* by one of *keys*.

    Args:
        body: The bytes as they were received.
        header: The header ``X-Inngest-Signature``.
        keys: The signing key and, while it is being replaced, the other one.
        now: Current time, in seconds since the epoch.
        window_seconds: How far from *now* the signature's own time may be, in both directions.
    """
    found = _SIGNATURE.fullmatch(header)
    if found is None or abs(now - int(found[1])) > window_seconds:
        return False
    return any(hmac.compare_digest(_digest(body, key, found[1]), found[2]) for key in keys)


def _digest(body: bytes, key: str, at: str) -> str:
    return hmac.new(_split(key)[1].encode(), body + at.encode(), hashlib.sha256).hexdigest()


def _split(key: str) -> tuple[str, str]:
    prefix = _PREFIX.match(key)
    return (prefix[0], key[prefix.end() :]) if prefix else ("", key)
