"""
The console blocks of a README: what to type, and what a reader will see.

A line that starts with ``$ `` is a command, the lines up to the next one are its output. There, ``...`` on a line of
its own stands for any lines, and the numbers in a table's first column ``process`` for process IDs: any will do, as
long as equal ones are equal and different ones differ.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^\$ ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """
    One command of a README.

    Attributes:
        line: What to type.
        output: What it prints, errors included.
    """

    line: str
    output: str

    def prints(self, text: str) -> bool:
        """Tell whether *text* is what a reader was told to expect."""
        found = _pattern(self.output).fullmatch(text)
        return found is not None and len(set(found.groups())) == len(found.groups())


def commands(markdown: str) -> list[Command]:
    """Return the commands of all console blocks in *markdown*, in order."""
    found = []
    for block in BLOCK.findall(markdown):
        before, *entries = PROMPT.split(block)
        if before:
            raise ValueError(f"a console block must begin with a command, not with {before!r}")
        for entry in entries:
            line, _, output = entry.partition("\n")
            while line.endswith("\\"):
                more, _, output = output.partition("\n")
                line += f"\n{more}"
            found.append(Command(line, output))
    return found


def output_of(line: str, cwd: Path | None = None) -> str:
    """Run *line* in a shell; return what a person would see."""
    return subprocess.run(
        ["sh", "-c", line],
        cwd=cwd,
        # What is asked for is on this machine.
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # One of them installs packages.
        timeout=240,
        check=False,
    ).stdout


def _pattern(output: str) -> re.Pattern[str]:
    """Return the pattern of all outputs that are as good as *output*; its groups are the process IDs."""
    parts = []
    seen: set[str] = set()
    in_table = False
    for line in output.splitlines():
        process = re.match(r"(\d+) +", line) if in_table else None
        if line == "...":
            parts.append(r"(?:.*\n)*")
        elif process:
            name = f"process_{process[1]}"
            parts.append(f"(?P={name})" if name in seen else rf"(?P<{name}>\d+)")
            parts.append(f" +{re.escape(line[process.end() :])}\n")
            seen.add(name)
        else:
            parts.append(re.escape(line) + "\n")
        in_table = in_table or line.startswith("process ")
    return re.compile("".join(parts))
