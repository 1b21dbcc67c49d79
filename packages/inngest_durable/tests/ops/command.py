"""The command ``inngest-durable``: in this process, which is quick, or as the console script that operators call."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from inngest_durable import cli

SCRIPT = Path(sysconfig.get_path("scripts")) / "inngest-durable"


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command."""

    code: int
    output: str
    error: str


class Command:
    """
    The command on one database.

    Args:
        database: The file.
        is_script: Whether to start the console script.
    """

    def __init__(self, database: Path, *, is_script: bool = False) -> None:
        self.database = database
        self._is_script = is_script

    def run(self, *arguments: str) -> Done:
        """Run it to its end, whatever comes of it."""
        environ = {"INNGEST_DURABLE_DB": str(self.database)}
        if self._is_script:
            script = subprocess.run(
                [SCRIPT, *arguments], env=os.environ | environ, capture_output=True, text=True, check=False
            )
            return Done(script.returncode, script.stdout, script.stderr)
        result = CliRunner().invoke(cli.main, arguments, env=environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def output(self, *arguments: str) -> str:
        """Return what it prints; it has to succeed."""
        done = self.run(*arguments)
        assert (done.code, done.error) == (0, ""), done
        return done.output

    def json(self, *arguments: str) -> Any:
        """Return what it prints with ``--json``."""
        return json.loads(self.output(*arguments, "--json"))
