"""Which tokens open the wait URLs of runs: those that the server gave here, and those that it says are good."""

from __future__ import annotations

import asyncio
import hmac
from base64 import urlsafe_b64decode
from collections import OrderedDict
from hashlib import sha256

import msgspec
from msgspec import Struct

from .api import InngestApi, RefusedError, UnreachableError
from .protocol import is_run_id

_MOST_TOKENS = 10_000
_LONGEST_SECONDS = 30.0
# How much longer than for a wrong token the server may take to refuse one.
_REFUSAL_SECONDS = 0.25
_WRONG_TOKEN = "-"


class Tokens:
    """
    The tokens of runs, as far as this process knows them; of too many, the oldest are forgotten.

    Args:
        api: Asked about tokens that it has not given to this process.
    """

    def __init__(self, api: InngestApi) -> None:
        self._api = api
        self._issued = _Recent()
        self._accepted = _Recent()
        self._digests = _Recent()

    def issued(self, run_id: str, token: str) -> None:
        """Note the token that the server has given for a run that began here."""
        if token:
            self._issued.add(run_id, token)

    def of(self, run_id: str) -> str:
        """Return a token that opens the run; empty if none is known."""
        return self._issued.get(run_id) or self._accepted.get(run_id)

    def is_known(self, run_id: str, token: str) -> bool:
        """Whether *token* was given here, or accepted before; compared in constant time."""
        issued = self._issued.get(run_id).encode()
        is_issued = hmac.compare_digest(issued, token.encode(errors="surrogatepass")) and issued != b""
        return is_issued or bool(self._digests.get(_digest(run_id, token)))

    async def is_accepted(self, run_id: str, token: str) -> bool:
        """Ask the server whether *token* opens the run; what it accepts is known from then on."""
        if not is_run_id(run_id) or _run_id_in(token) != run_id or not await self._asked(run_id, token):
            return False
        self._digests.add(_digest(run_id, token), run_id)
        self._accepted.add(run_id, token)
        return True

    async def _asked(self, run_id: str, token: str) -> bool:
        """
        Ask the server about a token.

        It says nothing for minutes about a run that goes on, so silence has to do: it is compared with the time that
        the refusal of a wrong token takes.
        """
        asking = asyncio.ensure_future(self._api.output(run_id, token, _LONGEST_SECONDS))
        try:
            try:
                await self._api.output(run_id, _WRONG_TOKEN, _LONGEST_SECONDS)
            except RefusedError:
                await asyncio.wait((asking,), timeout=_REFUSAL_SECONDS)
                return not asking.done() or asking.result() is not None
            raise UnreachableError("the server does not refuse a wrong token")
        except RefusedError:
            return False
        finally:
            asking.cancel()
            # Its error was not asked for if the other call failed first.
            await asyncio.gather(asking, return_exceptions=True)


class _Recent:
    """Texts by name; of too many, the oldest are forgotten."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()

    def add(self, name: str, text: str) -> None:
        self._texts[name] = text
        self._texts.move_to_end(name)
        if len(self._texts) > _MOST_TOKENS:
            self._texts.popitem(last=False)

    def get(self, name: str) -> str:
        return self._texts.get(name, "")


class _Claims(Struct):
    run_id: str = msgspec.field(name="RunID", default="")


def _run_id_in(token: str) -> str:
    """Return the run that a token says it is for, which proves nothing; empty if it is not a token."""
    try:
        return msgspec.json.decode(urlsafe_b64decode(token.split(".")[1] + "=="), type=_Claims).run_id
    except (IndexError, ValueError, msgspec.DecodeError):
        return ""


def _digest(run_id: str, token: str) -> str:
    return sha256(f"{run_id} {token}".encode(errors="surrogatepass")).hexdigest()
