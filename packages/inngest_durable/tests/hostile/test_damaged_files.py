"""
What may lie where the database should be. A start fails with a `StoreError` that names the file, or it succeeds, and
then requests are answered: nothing hangs, and no client is shown our insides.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import StoreError
from inngest_durable.engines.embedded import store as sqlite_store

from packages.inngest_durable.tests.hostile.doors import Doors
from testkit.colourless import Web, choose

PAGE = 4096
TABLES = ("meta", "runs", "steps", "events", "workers", "run_events", "waits")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give what cannot be written up soon, at the end of a test."""
    monkeypatch.setattr(sqlite_store, "_CLOSE_SECONDS", 0.2)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database with runs that have ended, which no process has open."""
    choose("quart")
    with Doors(tmp_path_factory.mktemp("sound")).opened() as doors:
        for _ in range(20):
            assert doors.ask("POST", "/order", b"", [], b"{}").status == 200
    return doors.database


@pytest.fixture(scope="module")
def parked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, bytes]:
    """Make a database with a run that waits; give its wait URL, too."""
    choose("quart")
    with Doors(tmp_path_factory.mktemp("parked")).opened() as doors:
        path, token = doors.parked()
    return doors.database, path, token


def behaviour(folder: Path) -> str:
    """Start the application on *folder*; return why it could not start, or "" when it did and answered requests."""
    choose("quart")
    doors = Doors(folder, shutdown_grace="100ms")
    try:
        with doors.opened():
            assert doors.ask("GET", "/plain").status == 200
            for reply in (doors.ask("POST", "/order", b"", [], b"{}"), doors.ask("GET", "/_inngest/runs/x/output")):
                assert reply.status in (200, 303, 400, 500, 503), reply
                assert b"Traceback" not in reply.body
                assert b"sqlite" not in reply.body.lower()
    except StoreError as error:
        refused = error
    else:
        return ""
    assert str(folder) in str(refused)
    assert "cannot lock" in str(refused) or any("move it away" in note for note in refused.__notes__)
    return str(refused)


def damaged(folder: Path, content: bytes) -> Path:
    """Put *content* where a database should be."""
    (folder / "durable.db").write_bytes(content)
    return folder


@pytest.mark.parametrize("kept", [50, 100, 512, PAGE - 1, PAGE, 2 * PAGE, -PAGE])
def test_truncated_file_is_refused(sound: Path, tmp_path: Path, kept: int) -> None:
    assert "cannot open the database" in behaviour(damaged(tmp_path, sound.read_bytes()[:kept]))


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_are_refused_or_survived(sound: Path, tmp_path: Path, seed: int) -> None:
    """SQLite has no checksums: what is no visible damage is not found, and must not bring the server down."""
    chance, content = random.Random(seed), bytearray(sound.read_bytes())
    for _ in range(20):
        content[chance.randrange(100 if seed % 3 == 0 else len(content))] ^= 1 << chance.randrange(8)
    behaviour(damaged(tmp_path, bytes(content)))


@pytest.mark.parametrize("table", TABLES)
def test_damaged_table_does_not_hang_the_start(sound: Path, tmp_path: Path, table: str) -> None:
    with closing(sqlite3.connect(sound)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    content = bytearray(sound.read_bytes())
    content[(page - 1) * PAGE : page * PAGE] = b"\xa5" * PAGE
    refused = behaviour(damaged(tmp_path, bytes(content)))

    if table in ("meta", "workers", "run_events"):
        assert "cannot open the database" in refused


def test_damaged_schema_that_is_no_text_is_refused(sound: Path, tmp_path: Path) -> None:
    """The message of SQLite quotes it, which Python cannot decode."""
    content = sound.read_bytes().replace(b"CREATE TABLE steps (", b"CREATE TABLE \xe5\xff\xfe ( ")
    assert "cannot open the database" in behaviour(damaged(tmp_path, content))


@pytest.mark.parametrize("name", ["durable.db-wal", "durable.db-shm"])
@pytest.mark.parametrize("content", [b"", b"shopping list\n" * 3_000, bytes(40_000)], ids=["empty", "text", "zeros"])
def test_foreign_log_is_passed_over(sound: Path, tmp_path: Path, name: str, content: bytes) -> None:
    """A file in the log's place that is not this database's: the runs are those of the database."""
    shutil.copy(sound, tmp_path / "durable.db")
    (tmp_path / name).write_bytes(content)

    assert behaviour(tmp_path) == ""
    assert Doors(tmp_path).counts()[0] == 21


def test_log_of_another_database_is_passed_over(sound: Path, tmp_path: Path) -> None:
    """Its checksums begin with a salt of its own."""
    with Doors(tmp_path).opened() as doors:
        doors.ask("POST", "/order", b"", [], b"{}")
        for name in ("durable.db-wal", "durable.db-shm"):
            shutil.copy(tmp_path / name, tmp_path / f"kept-{name}")
    shutil.copy(sound, tmp_path / "durable.db")
    shutil.move(tmp_path / "kept-durable.db-wal", tmp_path / "durable.db-wal")
    (tmp_path / "kept-durable.db-shm").unlink()
    behaviour(tmp_path)


def test_file_in_place_of_the_folder_of_locks_is_refused(sound: Path, tmp_path: Path) -> None:
    shutil.copy(sound, tmp_path / "durable.db")
    (tmp_path / "durable.db.workers").touch()

    assert "cannot lock a file" in behaviour(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of two megabytes, where this user may."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no permission to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_at_the_first_start_is_told_and_harms_nothing(small_disk: Path) -> None:
    """When there is room again, the file that could not be made is made."""
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass
    refused = behaviour(small_disk)
    filler.unlink()

    assert "cannot open the database" in refused
    assert behaviour(small_disk) == ""


@pytest.mark.parametrize("is_new", [True, False], ids=["new file", "file that is there"])
def test_read_only_file_system_is_refused(small_disk: Path, sound: Path, is_new: bool) -> None:
    if not is_new:
        shutil.copy(sound, small_disk / "durable.db")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    assert "cannot open the database" in behaviour(small_disk)


def test_application_without_its_database_answers_what_needs_none(web: Web, tmp_path: Path) -> None:
    """A view that is no endpoint goes on; an endpoint is the framework's 500, and again when the file is sound."""
    (tmp_path / "durable.db").write_text("shopping list\n" * 100)
    doors = Doors(tmp_path)
    with doors.unstarted():
        broken, plain = doors.ask("POST", "/order", b"", [], b"{}"), doors.ask("GET", "/plain")
        (tmp_path / "durable.db").unlink()
        again = doors.ask("POST", "/order", b"", [], b"{}")

    assert (broken.status, plain.status, again.status) == (500, 200, 200)
    assert b"durable.db" not in broken.body
    assert b"Traceback" not in broken.body
    assert web.module is not None


async def test_server_is_told_why_the_application_cannot_start(tmp_path: Path) -> None:
    """By the lifespan, so that it ends with a message that names the file."""
    choose("quart")
    (tmp_path / "durable.db").write_text("shopping list\n" * 100)
    doors = Doors(tmp_path)
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"} if not sent else {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        sent.append(message)

    app: Any = doors.app.asgi_app
    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)

    assert sent[0]["type"] == "lifespan.startup.failed"
    assert str(doors.database) in sent[0]["message"]


def test_damaged_run_does_not_keep_others_from_going_on(
    parked: tuple[Path, str, bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run whose row cannot be read is named in the log; the others are entered, and the timers go on."""
    database, path, token = parked
    choose("quart")
    shutil.copy(database, tmp_path / "durable.db")
    with closing(sqlite3.connect(tmp_path / "durable.db")) as connection, connection:
        connection.execute("UPDATE runs SET wake_at = 1")
        connection.execute("CREATE TEMP TABLE copied AS SELECT * FROM runs")
        connection.execute("UPDATE copied SET id = '00000000000000000000000000', request = x'c1'")
        connection.execute("INSERT INTO runs SELECT * FROM copied")
    with Doors(tmp_path, shutdown_grace="100ms").opened() as doors:
        sent = doors.ask("POST", "/_inngest/e/key-1", b"", [], b'{"name":"approved","data":{"n":1}}')
        answer = doors.ask("GET", path, token)

    assert (sent.status, answer.status) == (200, 200)
    assert "a run cannot be read: is the database damaged? [run=00000000000000000000000000]" in caplog.text
