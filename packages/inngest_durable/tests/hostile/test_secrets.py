"""Tokens and keys are told to nobody but their clients, and files are for their user alone."""

from __future__ import annotations

import ast
import logging
import os
import stat
from pathlib import Path

import inngest_durable
import pytest
from inngest_durable.output import OutputQuery

from packages.inngest_durable.tests.hostile.doors import EVENT_KEY, Doors

SOURCES = Path(inngest_durable.__file__).parent


def test_secrets_are_compared_in_constant_time() -> None:
    """No token, key or signature is compared by ``==``, but with an empty one."""
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                names = {
                    (side.id if isinstance(side, ast.Name) else side.attr)
                    for side in (node.left, *node.comparators)
                    if isinstance(side, ast.Name | ast.Attribute)
                }
                empty = any(isinstance(side, ast.Constant) and not side.value for side in node.comparators)
                if names & {"token", "event_key", "signature", "secret", "signing_key"} and not empty:
                    found.append(f"{path.name}:{node.lineno}")
    users = {path.name for path in SOURCES.rglob("*.py") if "hmac.compare_digest(" in path.read_text()}

    assert found == []
    assert {"engine.py", "inbox.py"} <= users


def test_token_is_told_to_its_client_only(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the log, nor what is recorded of the run, nor its events hold it."""
    caplog.set_level(logging.DEBUG)
    path, query = doors.parked()
    token = query.removeprefix(b"token=")
    at_once = (b"prefer", b"wait=0")
    for asked in (query, query + b"x", query + b"&lastEventId=9"):
        doors.ask("GET", path, asked, [at_once])
    doors.ask("DELETE", path, query)
    stream = doors.ask("GET", path, query, [(b"accept", b"text/event-stream")])
    files = b"".join(file.read_bytes() for file in doors.database.parent.iterdir() if file.is_file())

    assert b"event: result" in stream.body
    assert token not in stream.body
    assert token.decode() not in caplog.text
    assert EVENT_KEY not in caplog.text
    assert token not in files


def test_token_is_in_no_repr() -> None:
    """Tools that show the variables of each frame of a traceback show reprs."""
    query = OutputQuery("GET", "/", {"token": "hidden", "n": "1"}, "01", "hidden", 1, None, None)

    assert "hidden" not in repr(query)


def test_files_are_for_their_user_alone(tmp_path: Path) -> None:
    """Whatever the umask; the files of the log and of the locks, too."""
    before = os.umask(0)
    try:
        with Doors(tmp_path / "new").opened() as doors:
            doors.parked()
            folder = doors.database.parent
            modes = {path.relative_to(folder): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    finally:
        os.umask(before)
    folders = {Path("durable.db.workers")}

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path for path, mode in modes.items() if mode == 0o700} == folders
    assert {mode for path, mode in modes.items() if path not in folders} == {0o600}
    assert {path.name for path in modes} >= {"durable.db", "durable.db-wal", "durable.db-shm"}
    assert any(path.suffix == ".lock" for path in modes)
