"""The user directory, faked: knows the account of every user. An order's calls are recorded under its user's ID."""

from __future__ import annotations

from typing import TypedDict
from zlib import crc32

from trip_booker.third_party import Fault, ask
from trip_booker.world import Call


class DirectoryError(Exception):
    """The directory could not do it this time; it may well work the next time."""


DIRECTORY_TIMEOUT = Fault(DirectoryError, "DIRECTORY_TIMEOUT", "the user directory did not answer in time")


class User(TypedDict):
    """A user and the account that pays for the user's orders."""

    userId: str
    accountId: str


async def find(user_id: str) -> User:
    """Look a user up; the same user has the same account."""
    call = Call("accounts", "find", user_id)
    user = User(userId=user_id, accountId=f"acct-{crc32(user_id.encode()):08x}")
    return await ask(
        call, outcome="found", result=user, seconds=0.2, fault=DIRECTORY_TIMEOUT, says=("Looking the user up",)
    )
