"""
The database file: create it, refuse one that is not ours, migrate an older one, and connect to it.

Must not write to a file that it refuses. Called by `store` when it opens; blocking.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

from ...errors import StoreError
from .forks import Connection, forks
from .queries import QUERIES, SCHEMA, Migration, Schema

logger = logging.getLogger("inngest_durable")

Synchronous = Literal["FULL", "NORMAL"]

# "inng": tells our files from those of other programs that use `user_version` too.
_APPLICATION_ID = 0x696E6E67
# How long to wait for other processes that are creating the same file.
_OPEN_SECONDS = 10.0
_WHAT_TO_DO = (
    "Restore the file from a copy, or move it away, with its -wal and -shm files, to begin with an empty one. "
    "EmbeddedEngine(path) or INNGEST_DURABLE_DB names another file."
)
# SQLite's message quotes the file, and Python cannot decode what is not UTF-8.
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)


class Database:
    """
    One SQLite file.

    Args:
        path: The file; created, with its folder, by `open`.
        synchronous: ``"FULL"`` survives a power loss, ``"NORMAL"`` only the death of the process.
        schema: How a new file is made, and an older one brought up to date.
    """

    def __init__(self, path: Path, synchronous: Synchronous, schema: Schema = SCHEMA) -> None:
        self.path = path
        self._synchronous = synchronous
        self._schema = schema

    def open(self) -> tuple[sqlite3.Connection, bytes]:
        """
        Create the file if it is not there, check it if it is; return the connection that writes, and the secret.

        A file of an older version is brought to this one, as a whole or not at all. Other processes may open it at
        the same moment; those of the older version that have it open go on with the tables they know.

        Raises:
            StoreError: The file cannot be opened, is not a database of this package, is from a newer version, or
                cannot be migrated.
        """
        deadline = time.monotonic() + _OPEN_SECONDS
        while True:
            try:
                self._create_file()
                with forks:
                    return self._connect_to_tables()
            except StoreError as error:
                error.add_note(_WHAT_TO_DO)
                raise
            except (OSError, *UNREADABLE) as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    failed = StoreError(f"cannot open the database {self.path}: {error}")
                    failed.add_note(_WHAT_TO_DO)
                    raise failed from error
            # Another process creates or migrates the tables, or replays the log of one that died.
            time.sleep(random.uniform(0.005, 0.05))

    def check_current(self) -> None:
        """
        Refuse a file that `open` would have to create, to fill or to migrate.

        Raises:
            StoreError: It is not there, is empty, is from an older version, or is one that `open` refuses too.
        """
        if not self.path.is_file():
            raise StoreError(f"there is no database {self.path}")
        try:
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            with forks, closing(sqlite3.connect(uri, uri=True)) as connection:
                self._check(connection)
                version = 0 if _is_empty(connection) else _number(connection, "user_version")
        except sqlite3.Error as error:
            raise StoreError(f"cannot open the database {self.path}: {error}") from error
        if version == 0:
            raise StoreError(f"{self.path} is empty: no application has used it")
        if version < self._schema.version:
            raise StoreError(
                f"{self.path} was written by an older version of inngest_durable (its schema is {version}, this "
                f"version's is {self._schema.version}): start the application with this version, which migrates it"
            )

    def connect(self, busy_seconds: float = 0.0) -> sqlite3.Connection:
        """
        Return a new connection, which may be used by one thread at a time.

        Args:
            busy_seconds: How long SQLite itself may wait for a lock, blocking the thread.
        """
        connection = sqlite3.connect(
            self.path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, factory=Connection
        )
        try:
            # Durable before visible: each commit is synced, or only each checkpoint with NORMAL.
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            # SQLite leaves it off unless asked.
            connection.execute("PRAGMA foreign_keys = ON")
            # A sort must not fail because a disk is full.
            connection.execute("PRAGMA temp_store = MEMORY")
            # A commit never pays for moving the log into the file: `checkpointer` does that in its thread.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def log_bytes(self) -> int:
        """Return how long the write-ahead log is; 0 if there is none."""
        try:
            # Beside the file itself, where the path is a link to it.
            return Path(f"{os.path.realpath(self.path)}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def _create_file(self) -> None:
        folder = self.path.parent
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would create it readable by everybody; its -wal and -shm files copy the permissions. An existing
        # file is never opened here: closing it would drop the locks this process may hold on it through SQLite.
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            if not os.access(self.path, os.R_OK | os.W_OK):
                raise PermissionError("no permission to read and write it") from None

    def _connect_to_tables(self) -> tuple[sqlite3.Connection, bytes]:
        connection = self.connect()
        try:
            self._check(connection)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{self.path} is on a file system that cannot hold a write-ahead log ({mode} only)")
            if _is_empty(connection) or _number(connection, "user_version") < self._schema.version:
                self._bring_up_to_date(connection)
            secret = connection.execute(QUERIES["secret"]).fetchone()
            if secret is None:
                raise StoreError(f"{self.path} is damaged: it holds no secret")
            _try_to_write(connection)
        except BaseException:
            connection.close()
            raise
        return connection, bytes(secret[0])

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        # Otherwise dropping a table to remake it would delete the rows that refer to it. No effect in a transaction.
        connection.execute("PRAGMA foreign_keys = OFF")
        # Whatever fails from here on, the connection is closed, which takes all of it back.
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have been faster, and even be newer.
        self._check(connection)
        version = _number(connection, "user_version")
        if _is_empty(connection):
            self._create_tables(connection)
        else:
            for migration in self._schema.migrations:
                if migration.version > version:
                    self._migrate(connection, migration)
        connection.execute(f"PRAGMA user_version = {self._schema.version}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA foreign_keys = ON")
        if 0 < version < self._schema.version:
            logger.info("%s was brought from schema %d to %d", self.path, version, self._schema.version)

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        for statement in self._schema.statements:
            connection.execute(statement)
        connection.execute(QUERIES["insert_secret"], (secrets.token_bytes(32),))
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def _migrate(self, connection: sqlite3.Connection, migration: Migration) -> None:
        old, new = migration.version - 1, migration.version
        what = f"cannot bring {self.path} from schema {old} to {new} by {migration.name}"
        try:
            for statement in migration.statements:
                connection.execute(statement)
            dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"{what}: {error}; it was not changed") from error
        if dangling is not None:
            table, _, parent, _ = dangling
            raise StoreError(f"{what}: rows of {table} refer to {parent} that are not there; it was not changed")

    def _check(self, connection: sqlite3.Connection) -> None:
        if _is_empty(connection):
            return
        application_id, version = _number(connection, "application_id"), _number(connection, "user_version")
        if application_id != _APPLICATION_ID:
            raise StoreError(f"{self.path} belongs to another program; it was not changed")
        if version > self._schema.version:
            raise StoreError(
                f"{self.path} was written by a newer version of inngest_durable (its schema is {version}, "
                f"this version knows {self._schema.version}); it was not changed"
            )


def is_busy(error: BaseException) -> bool:
    """Whether *error* says that another connection holds the lock."""
    if not isinstance(error, sqlite3.OperationalError):
        return False
    # Errors that the module raises by itself have no code. The low byte is the error, the others its kind.
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def _try_to_write(connection: sqlite3.Connection) -> None:
    """
    Do what every worker does first, and take it back: on a damaged file that would be tried for ever.

    Nothing reaches the disk, which may be full for a while. If another process holds the lock, it can write: that will
    do.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return
        raise
    connection.execute(QUERIES["last_run_event"]).fetchall()
    connection.execute(QUERIES["add_worker"], ("", 0, "", 0.0))
    connection.execute(QUERIES["drop_worker"], ("",))
    connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    return int(value)


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return int(tables) == 0
