"""Which requests are the same: the scope and digest behind an ``Idempotency-Key``. Pure."""

from __future__ import annotations

from hashlib import blake2b

from .model import Idempotency, RecordedRequest

LONGEST_KEY = 255
HTTP_SPACE = " \t"


def identity_of(endpoint_id: str, key: str, request: RecordedRequest, scope: str | None) -> Idempotency | None:
    """
    Return what makes another request the same as this one; None if *key* is empty or longer than 255 characters.

    Args:
        endpoint_id: A key counts within its endpoint.
        key: The ``Idempotency-Key`` header.
        request: The request that carries it.
        scope: Whose key it is; None takes the ``Authorization`` header, so that nobody reaches another user's runs.
    """
    # Not everything that str.strip() takes for a space: such bytes also end the UTF-8 of other characters.
    key = key.strip(HTTP_SPACE)
    if not 1 <= len(key) <= LONGEST_KEY:
        return None
    digest = _digest(request.method.encode(), request.raw_path, request.query_string, request.body)
    return Idempotency(scope_of(endpoint_id, request.header(b"authorization"), scope), key, digest)


def scope_of(endpoint_id: str, authorization: str | None, scope: str | None) -> str:
    """Return the digest of the endpoint and the key's owner: *scope*, or *authorization* if that is None."""
    owner = f"header {authorization or ''}" if scope is None else f"scope {scope}"
    return _digest(endpoint_id.encode(), owner.encode(errors="surrogatepass"))


def _digest(*parts: bytes) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        # The length first, so that no two lists of parts read alike.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
