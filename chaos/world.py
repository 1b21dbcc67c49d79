"""
The world outside the workers: a ledger of effects, third parties that fail for a while, and the machine's clock.

Kept in files that survive the death of any process; used by the step functions in the workers, and by the books.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

_OFFSET = struct.Struct("d")
# How the file of a refusal ends whose number is taken.
_TAKEN = ".refused"


class Effect(Struct, frozen=True):
    """
    One execution of a step's function.

    Attributes:
        name: The request's name, which its run's path holds.
        step: The step's ID.
        key: The step's idempotency key.
        token: Of this execution alone; also the step's result.
        pid: The worker process.
        at: When, by the clock that no jump changes (CLOCK_MONOTONIC, the same for all processes).
        refused: Whether the third party failed, as was planned.
    """

    name: str
    step: str
    key: str
    token: str
    pid: int
    at: float
    refused: bool = False


class World:
    """
    What the workers in one folder have an effect on.

    Args:
        folder: Shared by all of them.
    """

    def __init__(self, folder: Path) -> None:
        self._ledger = folder / "ledger"
        self._refusals = folder / "refusals"
        for made in (self._ledger, self._refusals):
            made.mkdir(parents=True, exist_ok=True)
        self.clock = MachineClock(folder / "clock")

    def perform(self, name: str, step: str, key: str, *, refused: bool = False) -> str:
        """Have an effect: write it down, and return its token."""
        effect = _effect(name, step, key, refused)
        # A file for each process, and one write for each line: none mixes with another, and all survive a SIGKILL.
        descriptor = os.open(self._ledger / f"{effect.pid}", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(effect) + b"\n")
        finally:
            os.close(descriptor)
        return effect.token

    def refuses(self, name: str, step: str, key: str, times: int) -> bool:
        """
        Fail this call, and write that down, if it is one of the first *times*, whichever process makes them.

        Its number is taken by the file that holds the effect: a process that dies here has done both, or nothing.
        """
        written = self._refusals / uuid.uuid4().hex
        written.write_bytes(msgspec.json.encode(_effect(name, step, key, refused=True)) + b"\n")
        try:
            return any(_linked(written, self._refusals / f"{name}-{number}{_TAKEN}") for number in range(times))
        finally:
            written.unlink()

    def effects(self) -> list[Effect]:
        """Return all effects, the oldest first."""
        files = (*self._ledger.iterdir(), *self._refusals.glob(f"*{_TAKEN}"))
        return sorted((effect for path in files for effect in _lines(path)), key=lambda effect: effect.at)


def _effect(name: str, step: str, key: str, refused: bool) -> Effect:
    return Effect(name, step, key, uuid.uuid4().hex, os.getpid(), time.monotonic(), refused)


def _linked(written: Path, taken: Path) -> bool:
    """Give a file a second name, if that is free."""
    try:
        taken.hardlink_to(written)
    except FileExistsError:
        return False
    return True


def _lines(path: Path) -> Iterable[Effect]:
    # A process may have died within its last line.
    whole = path.read_bytes().rpartition(b"\n")[0]
    return (msgspec.json.decode(line, type=Effect) for line in whole.splitlines())


class MachineClock:
    """
    How far the machine's clock is set wrong: one number that all processes see at once.

    Args:
        path: The file that holds it.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            os.ftruncate(descriptor, _OFFSET.size)
            self._shared = mmap.mmap(descriptor, _OFFSET.size)
        finally:
            os.close(descriptor)

    @property
    def offset(self) -> float:
        """Seconds that the clock is ahead."""
        seconds: float = _OFFSET.unpack_from(self._shared)[0]
        return seconds

    def set(self, seconds: float) -> None:
        """Let the clock jump to this many seconds ahead, or behind."""
        _OFFSET.pack_into(self._shared, 0, seconds)

    def install(self) -> None:
        """Let this process, the engine included, read the time from this clock."""
        real = time.time
        time.time = lambda: real() + self.offset
