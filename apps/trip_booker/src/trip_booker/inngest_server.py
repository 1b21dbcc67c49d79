"""`--inngest`: runs are kept on an Inngest server, the Dev Server unless the environment names another one."""

from __future__ import annotations

import os

import httpx
from inngest_durable import Inngest, InngestEngine

# A request may take half of it before its client is redirected; a killed booking goes on after the rest. The engine's
# default of 60 seconds is long for somebody who has just pressed the button that kills.
LEASE = "15s"

START_ONE = """\
No Inngest server answers at {url}. Start the Dev Server in another terminal (that needs Node.js and the internet):

  npx inngest-cli@latest dev

and then this again. If it is elsewhere, say where: INNGEST_DEV=http://127.0.0.1:8289"""


def is_chosen() -> bool:
    """Return whether the environment asks for an Inngest server: a client that is given no engine follows it."""
    return isinstance(Inngest("trip-booker").engine, InngestEngine)


def choose() -> None:
    """Let the processes started from here use the Inngest engine, unless the environment already says so."""
    if not is_chosen():
        os.environ["INNGEST_DEV"] = "1"


def missing() -> str | None:
    """
    Return what to do if no server answers where the environment says, otherwise None.

    Raises:
        ConfigurationError: The environment names no usable server.
    """
    try:
        httpx.get(f"{url()}/health", timeout=5).raise_for_status()
    except httpx.HTTPError:
        return START_ONE.format(url=url())
    return None


def url() -> str:
    """Return the server's base URL. Raises `ConfigurationError`."""
    return InngestEngine().settings.api_url
