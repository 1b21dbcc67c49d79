"""SQLite's write-ahead log, as far as one has to read it to know what of it is committed. See sqlite.org/fileformat."""

from __future__ import annotations

import os
from pathlib import Path

HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24


class Log:
    """
    A write-ahead log, read while others write it.

    Args:
        database: The database file that it belongs to.
    """

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}-wal")

    def header(self) -> bytes:
        """Return its header, which changes when the log is written from its start again; empty if there is none."""
        try:
            with self._path.open("rb") as log:
                return log.read(HEADER_BYTES)
        except FileNotFoundError:
            return b""

    def committed(self) -> int:
        """Return the offset after its last whole transaction; 0 if there is no log."""
        header = self.header()
        if len(header) < HEADER_BYTES:
            return 0
        page_bytes, salts = int.from_bytes(header[8:12], "big"), header[16:24]
        committed = offset = HEADER_BYTES
        with self._path.open("rb") as log:
            length = os.fstat(log.fileno()).st_size
            while (end := offset + _FRAME_HEADER_BYTES + page_bytes) <= length:
                frame = os.pread(log.fileno(), _FRAME_HEADER_BYTES, offset)
                # Frames with other salts are left from before the log was last written from its start.
                if frame[8:16] != salts:
                    break
                offset = end
                # The last frame of a transaction says how large the database is after it.
                if any(frame[4:8]):
                    committed = offset
        return committed
