"""The command on a file that no server uses at the moment."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from inngest_durable._core.model import Failure, RunStatus
from inngest_durable.engines.embedded import operator
from inngest_durable.engines.embedded.queries import SCHEMA

from packages.inngest_durable.tests.ops.archive import SECRETS, Archive
from packages.inngest_durable.tests.ops.command import SCRIPT, Command
from packages.inngest_durable.tests.store.test_migrations import make
from testkit.records import Records
from testkit.waiting import PATIENCE_SECONDS, wait_until

NOBODY = "01JA0000000000000000000000"


@pytest.fixture
def archive(command: Command) -> Archive:
    return Archive(command.database)


@pytest.fixture
def records(command: Command) -> Records:
    return Records(command.database)


def test_list_shows_the_newest_runs_first(archive: Archive, command: Command) -> None:
    old = archive.ended(RunStatus.COMPLETED)
    new = archive.ended(RunStatus.FAILED, failure=Failure("OutageError", "the bank is down"))
    head, first, second = command.output("list").splitlines()

    assert head.split()[:4] == ["RUN", "STATUS", "ENDPOINT", "ATTEMPT"]
    assert first.split() == [new.id, "failed", "book", "1", *_TIMES, "OutageError"]
    assert second.split() == [old.id, "completed", "book", "1", *_TIMES]


_TIMES = ["1970-01-01", "00:16:40Z", "1970-01-01", "00:33:20Z"]


def test_list_keeps_to_status_endpoint_and_limit(archive: Archive, command: Command) -> None:
    failed = [archive.ended(RunStatus.FAILED, endpoint=endpoint).id for endpoint in ("book", "book", "other")]
    archive.ended(RunStatus.COMPLETED)

    def ids(*options: str) -> list[str]:
        return [run["id"] for run in command.json("list", *options)]

    assert ids("--status", "failed") == failed[::-1]
    assert ids("--status", "failed", "--endpoint", "book") == [failed[1], failed[0]]
    assert ids("--status", "failed", "--limit", "1") == [failed[2]]
    assert command.run("list", "--endpoint", "nothing", "--json").output == "[]\n"


def test_list_says_that_an_endpoint_has_no_run(archive: Archive, command: Command) -> None:
    """An ID that was mistyped, or has changed with its module, is no empty week; one without such a run is."""
    archive.insert()
    unknown = command.run("list", "--endpoint", "shop.place_order")

    assert (unknown.code, unknown.error) == (0, "there is no run of an endpoint 'shop.place_order'\n")
    assert command.run("list", "--endpoint", "book", "--status", "failed").error == ""


def test_show_in_a_pipe_cuts_nothing_off(archive: Archive, command: Command) -> None:
    """It may be searched; and its times are for people, wherever they stand."""
    run = archive.insert(status=RunStatus.WAITING, wake_at=4e9)
    told = "w" * 100
    data = json.dumps({"why": told, "until": 4e9})
    with closing(sqlite3.connect(command.database)) as db:
        db.execute("INSERT INTO run_events VALUES (7, ?, 1.0, 'run.interrupted', ?)", (run.id, data))
        db.commit()
    printed = command.output("show", run.id)

    assert f'why="{told}" until=2096-10-02 07:06:40Z' in printed


def test_show_tells_that_a_run_is_a_suspect(archive: Archive, command: Command) -> None:
    """It waits although it is due, and nobody would know why."""
    suspect = archive.insert(status=RunStatus.WAITING, wake_at=1.0, recoveries=2)
    innocent = archive.insert(status=RunStatus.WAITING, wake_at=1.0, recoveries=1)

    assert command.json("show", suspect.id)["is_suspect"] is True
    assert "under way at 2 deaths of a worker; it waits until no other" in command.output("show", suspect.id)
    assert "suspect" not in command.output("show", innocent.id)


def test_prune_tells_a_shell_how_durations_are_written(command: Command, archive: Archive) -> None:
    archive.insert()
    refused = command.run("prune", "--older-than", "1x")

    assert refused.code == 2
    assert "'1x' is not a duration such as 7d, 12h" in refused.error
    assert "timedelta" not in refused.error


def test_list_takes_any_limit(archive: Archive, command: Command) -> None:
    """More than SQLite can count, too."""
    run = archive.insert()

    assert run.id in command.output("list", "--limit", "9" * 30)


def test_list_gives_json(archive: Archive, command: Command) -> None:
    run = archive.ended(RunStatus.FAILED, failure=Failure("OutageError", "the bank is down"))

    assert command.json("list") == [
        {
            "id": run.id,
            "app_id": "trips",
            "endpoint": "book",
            "status": "failed",
            "attempt": 1,
            "created_at": 1000.5,
            "ended_at": 2000.0,
            "wake_at": None,
            "error": "OutageError",
        }
    ]


def test_show_tells_all_of_a_run(archive: Archive, command: Command) -> None:
    run = archive.secretive()
    shown = command.json("show", run.id)
    printed = command.output("show", run.id)

    assert shown["request"] == "POST /book?date=…&token=…"
    assert (shown["status"], shown["response_status"], shown["has_idempotency_key"]) == ("failed", 500, True)
    assert shown["error"]["name"] == "OutageError"
    assert [(step["key"], step["state"], step["attempt"]) for step in shown["steps"]] == [
        ("reserve", "completed", 1),
        ("pay", "failed", 4),
    ]
    assert [event["kind"] for event in shown["events"]] == [
        "run.started",
        "step.completed",
        "step.failed",
        "run.failed",
    ]
    for text in (run.id, "POST /book?date=…&token=…", "reserve", "OutageError: the bank is down", "step.failed"):
        assert text in printed


@pytest.mark.parametrize(("epoch", "passes"), [(1, "1 pass"), (2, "2 passes")])
def test_show_counts_passes(archive: Archive, command: Command, epoch: int, passes: str) -> None:
    printed = command.output("show", archive.insert(epoch=epoch).id)

    assert f"attempt 1, {passes}\n" in printed


def test_show_tells_what_a_step_waits_for(archive: Archive, command: Command) -> None:
    run = archive.insert(status=RunStatus.WAITING, wake_at=4e9)
    with closing(sqlite3.connect(command.database)) as db:
        db.execute("INSERT INTO waits VALUES (?, 'go', 'trips', 'event', 'paid', '', '', '', 0)", (run.id,))
        db.commit()

    assert command.json("show", run.id)["waits"] == [{"key": "go", "kind": "event", "name": "paid"}]
    assert "paid" in command.output("show", run.id)


def test_show_names_the_run_that_invoked_another(archive: Archive, command: Command) -> None:
    parent = archive.insert()
    child = command.json("show", archive.child(parent, "pay").id)

    assert (child["invoked_by"], child["has_idempotency_key"]) == (parent.id, False)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_show_tells_no_secrets(archive: Archive, command: Command, options: tuple[str, ...]) -> None:
    """No token of the wait URL, no header, no idempotency key, no value of the query string, no result, no answer."""
    run = archive.secretive()
    printed = command.output("show", run.id, *options)

    assert [secret for secret in (*SECRETS, archive.token(run)) if secret in printed] == []


def test_show_tells_the_query_string_to_who_asks_for_it(archive: Archive, command: Command) -> None:
    assert "date=2026-12-24&token=query-secret" in command.output("show", archive.secretive().id, "--query")


def test_texts_of_others_do_not_reach_the_terminal_as_they_are(archive: Archive, command: Command) -> None:
    """The message of an error may hold escape sequences."""
    printed = command.output("show", archive.secretive().id) + command.output("list")

    assert "\x1b" not in printed
    assert "the bank is down \\x1b[31m" in printed


def test_cancel_ends_a_waiting_run_and_those_that_it_has_invoked(
    archive: Archive, command: Command, records: Records
) -> None:
    parent = archive.insert(status=RunStatus.WAITING, wake_at=4e9)
    archive.child(archive.child(parent, "pay"), "charge")
    other = archive.insert(status=RunStatus.WAITING, wake_at=4e9)
    command.output("cancel", parent.id)

    assert [run.status for run in records.runs() if run.id != other.id] == ["cancelled"] * 3
    assert (found := records.run(other.id)) is not None
    assert found.status == "waiting"


@pytest.mark.parametrize("name", ["cancel", "show", "retry"])
def test_run_that_is_not_there(archive: Archive, command: Command, name: str) -> None:
    archive.insert()
    done = command.run(name, NOBODY)

    assert (done.code, done.output) == (1, "")
    assert done.error == f"Error: there is no run {NOBODY}, or it was deleted after its end\n"


def test_cancel_of_a_run_that_has_ended_changes_nothing(archive: Archive, command: Command, records: Records) -> None:
    run = archive.ended(RunStatus.COMPLETED)
    before = records.runs()
    done = command.run("cancel", run.id)

    assert (done.code, done.output) == (1, "")
    assert done.error == f"Error: run {run.id} is completed already: nothing was changed\n"
    assert records.runs() == before


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_retry_makes_a_new_run_of_the_same_request(archive: Archive, command: Command, status: RunStatus) -> None:
    """It is due at once, with the timeout of the first from now on; the first stays as it was."""
    run = archive.ended(status, deadline=1600.5)
    asked_at = time.time()
    new_id = command.output("retry", run.id).strip()
    again = command.json("show", new_id)

    assert again["request"] == command.json("show", run.id)["request"]
    assert (again["status"], again["attempt"], again["passes"], again["steps"]) == ("waiting", 1, 1, [])
    assert asked_at <= again["wake_at"] <= time.time()
    assert again["deadline"] == pytest.approx(again["wake_at"] + 600)
    assert command.json("show", run.id)["status"] == status


def test_retry_leaves_the_idempotency_key_with_the_first_run(archive: Archive, command: Command) -> None:
    run = archive.secretive()
    again = command.json("show", command.output("retry", run.id).strip())

    assert not again["has_idempotency_key"]
    assert command.json("show", run.id)["has_idempotency_key"]


@pytest.mark.parametrize("status", ["completed", "waiting"])
def test_retry_is_for_runs_that_failed(archive: Archive, command: Command, records: Records, status: str) -> None:
    run = (
        archive.ended(RunStatus.COMPLETED)
        if status == "completed"
        else archive.insert(status=RunStatus.WAITING, wake_at=4e9)
    )
    done = command.run("retry", run.id)

    assert (done.code, done.output) == (1, "")
    assert done.error == f"Error: run {run.id} is {status}: only one that failed or was cancelled is repeated\n"
    assert len(records.runs()) == 1


def test_prune_deletes_finished_runs_that_are_old_enough(archive: Archive, command: Command, records: Records) -> None:
    now = time.time()
    archive.ended(RunStatus.COMPLETED, ended_at=now - 7200)
    young = archive.ended(RunStatus.FAILED, ended_at=now - 1800)
    unfinished = archive.insert(status=RunStatus.WAITING, wake_at=4e9)

    assert command.output("prune", "--older-than", "1h") == "deleted 1 runs and 0 events\n"
    assert [run.id for run in records.runs()] == [young.id, unfinished.id]


@pytest.mark.parametrize(
    "arguments",
    [
        *(("prune",), ("prune", "--older-than", "soon"), ("list", "--status", "x"), ("x",)),
        # A byte that is no UTF-8, as Python takes it from a shell.
        *(("show", "\udcff"), ("cancel", "\udcff"), ("list", "--endpoint", "\udcff")),
    ],
)
def test_wrong_usage(archive: Archive, command: Command, arguments: tuple[str, ...]) -> None:
    archive.insert()

    assert command.run(*arguments).code == 2


def _missing(path: Path) -> str:
    return f"there is no database {path}"


def _empty(path: Path) -> str:
    path.touch()
    return f"{path} is empty: no application has used it"


def _foreign(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (id)")
    return f"{path} belongs to another program; it was not changed"


def _damaged(path: Path) -> str:
    path.write_bytes(b"no database at all" * 1000)
    return f"cannot open the database {path}: file is not a database"


def _newer(path: Path) -> str:
    make(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA.version + 1}")
    return f"{path} was written by a newer version of inngest_durable"


def _older(path: Path) -> str:
    make(path, SCHEMA.version - 1)
    return f"{path} was written by an older version of inngest_durable"


@pytest.mark.parametrize(
    "arguments", [("list",), ("retry", "01JA0000000000000000000000"), ("prune", "--older-than=0s")]
)
@pytest.mark.parametrize("spoil", [_missing, _empty, _foreign, _damaged, _newer, _older])
def test_file_that_cannot_be_used_is_refused_and_left_as_it_is(
    command: Command, spoil: Callable[[Path], str], arguments: tuple[str, ...]
) -> None:
    message = spoil(command.database)
    before = command.database.read_bytes() if command.database.exists() else None
    done = command.run(*arguments)

    assert (done.code, done.output) == (3, "")
    assert done.error.startswith(f"Error: {message}")
    assert done.error.count("\n") == 1
    assert (command.database.read_bytes() if command.database.exists() else None) == before


def test_damaged_row_is_no_traceback(archive: Archive, command: Command) -> None:
    run = archive.insert()
    with closing(sqlite3.connect(command.database)) as db:
        db.execute("UPDATE runs SET request = x'ff'")
        db.commit()
    done = command.run("show", run.id)

    assert (done.code, done.output, done.error.count("\n")) == (3, "", 1)
    assert command.json("list")[0]["id"] == run.id


def test_console_script_does_the_same(archive: Archive, command: Command) -> None:
    """With its exit codes, and an error in one line."""
    run = archive.ended(RunStatus.COMPLETED)
    script, nowhere = (Command(path, is_script=True) for path in (command.database, command.database / "no.db"))
    refused, unusable, wrong = script.run("retry", run.id), nowhere.run("list"), script.run("prune")

    assert script.json("list") == command.json("list")
    assert (refused.code, refused.output, refused.error.count("\n")) == (1, "", 1)
    assert (unusable.code, unusable.output, unusable.error.count("\n")) == (3, "", 1)
    assert (wrong.code, wrong.output) == (2, "")


@pytest.mark.skipif(sys.platform != "linux", reason="which files a process has mapped is told by Linux")
def test_interrupted_command_writes_nothing(archive: Archive, command: Command, records: Records) -> None:
    """And says by its exit code that it did not come to its end."""
    run = archive.insert(status=RunStatus.WAITING, wake_at=4e9)
    with records.locked():
        script = subprocess.Popen([SCRIPT, "--db", command.database, "cancel", run.id], stderr=subprocess.PIPE)
        # It has opened the database by then, and waits for the lock, or is about to.
        maps = Path(f"/proc/{script.pid}/maps")
        wait_until(lambda: f"{command.database}-shm" in maps.read_text(), "the command to open the database")
        script.send_signal(signal.SIGINT)
        script.communicate(timeout=PATIENCE_SECONDS)

    assert script.returncode == 130
    assert command.json("show", run.id)["status"] == "waiting"


def test_command_without_click_says_what_to_install() -> None:
    program = "import sys; sys.modules['click'] = None; import inngest_durable.cli"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    told = 'this command needs click, which is not installed: pip install "inngest-durable[cli]"'
    assert (done.returncode, done.stderr) == (1, f"{told}\n")


def test_option_names_the_file(archive: Archive, command: Command, tmp_path: Path) -> None:
    """Before the variable."""
    run = archive.insert()
    elsewhere = Command(tmp_path / "nowhere.db")

    assert run.id in elsewhere.output("--db", str(command.database), "list")


def test_write_gives_up_while_another_process_holds_the_database(
    archive: Archive, command: Command, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, with the reason; nothing is written then, nor later."""
    monkeypatch.setattr(operator, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("inngest_durable.engines.embedded.store._CLOSE_SECONDS", 0.05)
    run = archive.insert(status=RunStatus.WAITING, wake_at=4e9)
    with records.locked():
        ended = command.run("cancel", run.id)
        looked = command.json("list")

    assert (ended.code, ended.output) == (3, "")
    assert ended.error == "Error: the store was closed before this could be written (database busy)\n"
    assert looked[0]["status"] == "waiting"
    assert command.json("show", run.id)["status"] == "waiting"
