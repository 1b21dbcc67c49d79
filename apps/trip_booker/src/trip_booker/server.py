"""The serving process: this app on hypercorn, in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import threading

from hypercorn.asyncio import serve
from hypercorn.config import Config

from trip_booker.app import create_app
from trip_booker.settings import HOST, port

LOG_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"


def run() -> None:
    """
    Serve until SIGINT or SIGTERM.

    Raises:
        SystemExit: The server cannot start; says why.
    """
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    # It logs every request, and with an Inngest server each step makes several.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = Config()
    config.bind = [f"{HOST}:{port()}"]
    # A logger like any other: hypercorn's lines look like those of the app and the SDK, and go to the same place.
    config.errorlog = logging.getLogger("hypercorn.error")
    try:
        asyncio.run(serve(create_app(), config))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise SystemExit(f"Port {port()} is taken. Choose another one: PORT=3001") from error


def stop_at_end_of_input() -> None:
    """
    Stop this process as SIGTERM would, once its standard input is closed.

    The supervisor holds the other end of that pipe and never writes to it. The kernel closes it when the supervisor
    ends, however it ends, so a serving process never outlives its supervisor.
    """

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch-supervisor", daemon=True).start()
