"""The world outside: a stock, a bank and a post office. Each writes what it did into a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

LOG = Path("world.log")
KEYS = Path("bank.keys")


async def reserve(order: str) -> dict[str, int]:
    """Take the goods of an order off the shelf."""
    note(order, "reserved")
    return {"price": 30}


async def charge(order: str, amount: int, key: str = "") -> str:
    """Take the money; be slow to say so. A bank does nothing twice for the same key, if it gets one."""
    if is_closed():
        raise ConnectionError("the bank is closed")
    if is_known(key):
        note(order, "asked to charge again: nothing to do")
    else:
        note(order, f"charged {amount}", key)
        await asyncio.sleep(2)
    return f"receipt of {order}"


async def mail(order: str, receipt: str) -> None:
    """Send the receipt to the customer."""
    note(order, f"mailed the {receipt}")


def note(order: str, what: str, key: str = "") -> None:
    """Write down what was done, and for which key."""
    # The key first: a bank that is killed in between, and knows no key, would charge again.
    with KEYS.open("a") as keys:
        keys.write(f"{key}\n")
    with LOG.open("a") as log:
        log.write(f"{order} {what}\n")


def is_known(key: str) -> bool:
    """Tell whether something was done for *key*."""
    return bool(key) and key in KEYS.read_text()


def is_closed() -> bool:
    """Tell whether the bank is closed: while there is a file `bank.closed`."""
    return Path("bank.closed").exists()
