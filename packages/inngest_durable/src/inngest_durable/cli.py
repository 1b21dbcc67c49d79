"""
The command ``inngest-durable``: look after the runs in the embedded engine's database file.

Works whether or not the application's servers are running on the file. Exit codes: 0, done; 1, there is no such run, or
its state does not allow that; 2, wrong usage; 3, the database cannot be used; 130, interrupted.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from . import _cli_text as text
from ._core.duration import seconds
from ._core.model import RunStatus
from ._extras import needed_by
from .engines.embedded.engine import DEFAULT_PATH
from .engines.embedded.operator import NotPossibleError, Operator, operate
from .errors import RunNotFoundError, StoreError

try:
    with needed_by("this command", extra="cli"):
        import click
except ModuleNotFoundError as error:
    raise SystemExit(str(error)) from None

T = TypeVar("T")

# In a terminal; in a pipe or a file, all is printed.
LONGEST_CELL = 60

as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON; times are in seconds since the epoch.")
run_argument = click.argument("run_id", metavar="RUN")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    envvar="INNGEST_DURABLE_DB",
    default=DEFAULT_PATH,
    show_default=True,
    show_envvar=True,
    help="The database file.",
)
@click.version_option(package_name="inngest-durable")
@click.pass_context
def main(context: click.Context, db: Path) -> None:
    """
    Look after the runs of durable endpoints.

    Exit codes: 0 done, 1 no such run or not possible in its state, 2 wrong usage, 3 the database cannot be used.
    """
    context.obj = db


@main.command("list")
@click.option("--status", type=click.Choice([status.value for status in RunStatus]), help="Only runs in this status.")
@click.option("--endpoint", default="", help="Only runs of the endpoint with this ID.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many, the newest first.")
@as_json
@click.pass_obj
def list_runs(db: Path, status: str | None, endpoint: str, limit: int, is_json: bool) -> None:
    """List runs, the newest first."""

    async def look(operator: Operator) -> str:
        runs = operator.listed(status or "", endpoint, limit)
        if not runs and endpoint and not operator.listed("", endpoint, 1):
            click.echo(f"there is no run of an endpoint {text.printable(endpoint)!r}", err=True)
        return _as_json(msgspec.to_builtins(runs)) if is_json else text.listed(runs, _longest_cell())

    click.echo(_do(db, look))


@main.command()
@run_argument
@click.option("--query", "with_query", is_flag=True, help="Show the query string's values, which may be secrets.")
@as_json
@click.pass_obj
def show(db: Path, run_id: str, with_query: bool, is_json: bool) -> None:
    """Show a run: its request line, steps, waits, errors and events; no headers, results or responses."""

    async def look(operator: Operator) -> str:
        found = text.described(operator.record(run_id), with_query)
        return _as_json(found) if is_json else text.shown(found, _longest_cell())

    click.echo(_do(db, look))


@main.command()
@run_argument
@click.pass_obj
def cancel(db: Path, run_id: str) -> None:
    """
    Cancel a run for good, and the runs that it has invoked.

    A server that is executing it leaves its handler within about a second; the step in flight ends unrecorded.
    """
    _do(db, lambda operator: operator.cancel(run_id))
    click.echo(f"cancelled {run_id}")


@main.command()
@run_argument
@click.pass_obj
def retry(db: Path, run_id: str) -> None:
    """
    Repeat a run that failed or was cancelled, as a new run of the same request; print its ID.

    Every step runs again, including those that had completed, with idempotency keys of the new run. A server enters it
    within a second, or when one starts. The old run stays as it is.
    """
    click.echo(_do(db, lambda operator: operator.retry(run_id)))


@main.command()
@click.option("--older-than", "keep", required=True, metavar="DURATION", help="E.g. 7d, 12h or 0s, since their end.")
@click.pass_obj
def prune(db: Path, keep: str) -> None:
    """Delete runs that ended longer ago, and events as old (a day at least), in batches between others' commits."""
    try:
        keep_seconds = seconds(keep)
    except ValueError as error:
        raise click.BadParameter(
            f"{text.printable(keep)!r} is not a duration such as 7d, 12h, 1h30m or 0s", param_hint="--older-than"
        ) from error
    runs, events = _do(db, lambda operator: operator.prune(keep_seconds))
    click.echo(f"deleted {runs} runs and {events} events")


def _do(db: Path, work: Callable[[Operator], Awaitable[T]]) -> T:
    """Do *work* on the database, or end with one line on standard error and the exit code."""
    try:
        return asyncio.run(operate(db, work))
    except KeyboardInterrupt:
        # As shells do; 1 would say that nothing was changed.
        raise click.exceptions.Exit(130) from None
    except UnicodeEncodeError as error:
        # A shell hands on every byte; SQLite takes no half surrogate pair.
        raise click.UsageError(f"not UTF-8: {error.object!a}") from error
    except (RunNotFoundError, NotPossibleError) as error:
        raise Refused(error) from error
    except (StoreError, sqlite3.Error, msgspec.MsgspecError) as error:
        raise Unusable(error) from error


class Refused(click.ClickException):
    """There is no such run, or its state does not allow that."""

    exit_code = 1

    def __init__(self, error: Exception) -> None:
        super().__init__(text.printable(str(error)))


class Unusable(Refused):
    """The database cannot be used."""

    exit_code = 3


def _longest_cell() -> int | None:
    return LONGEST_CELL if sys.stdout.isatty() else None


def _as_json(value: Any) -> str:
    # Escaped, so that every terminal and pipe takes it, even with lone surrogates.
    return json.dumps(value, indent=2)


if __name__ == "__main__":
    main()
