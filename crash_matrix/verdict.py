"""A cell from its first process to what is said of it."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from crash_matrix.cells import Cell
from crash_matrix.judge import Judge
from crash_matrix.play import Play
from testkit.forks import Zygote

_LOG_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What is said of a cell.

    Attributes:
        cell: Which.
        complaints: All there is to complain of; empty if nothing.
        evidence: The ledger and the log of the servers, if there are complaints.
        seconds: How long the play took.
    """

    cell: Cell
    complaints: tuple[str, ...]
    evidence: str
    seconds: float

    def __str__(self) -> str:
        if not self.complaints:
            return f"{self.cell}: ok ({self.seconds:.1f} s)"
        lines = "\n".join(f"  {complaint}" for complaint in self.complaints)
        again = f"  alone: nox -s crash_matrix -- --only {self.cell}"
        return f"{self.cell}: FAILED ({self.seconds:.1f} s)\n{lines}\n{again}\n{self.evidence}"


def try_cell(cell: Cell, zygote: Zygote) -> Verdict:
    """Play *cell* in a folder of its own, and judge it."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="crash-matrix-"))
    try:
        try:
            with Play(cell, zygote, folder).played() as outcome:
                complaints = Judge(cell, outcome).complaints()
        except Exception:
            # It did not come to its end, which is the worst verdict.
            complaints = [traceback.format_exc()]
        evidence = _evidence(folder) if complaints else ""
        return Verdict(cell, tuple(complaints), evidence, time.monotonic() - started)
    finally:
        shutil.rmtree(folder)


def _evidence(folder: Path) -> str:
    texts = []
    for name in ("ledger", "server.log"):
        file = folder / name
        text = file.read_text(errors="replace")[-_LOG_CHARACTERS:] if file.exists() else "there is none\n"
        texts.append(f"--- {name} ---\n{text}")
    return "".join(texts)
