"""The frameworks and servers that the scenarios run over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packages.inngest_durable.tests.adapters import flask_app, quart_app
from packages.inngest_durable.tests.adapters.application import Application
from testkit.server_process import gunicorn_command, hypercorn_command, uvicorn_command
from testkit.servers import HypercornThread, ThreadServer, UvicornThread, WaitressThread, WerkzeugThread


@dataclass(frozen=True, slots=True)
class Framework:
    """
    A framework: how to build the application of `application`, and what serves it.

    Attributes:
        build: Makes the application in a folder.
        threads: Servers in a thread, by name; the first is used where nothing else is asked for.
        commands: Command lines of server processes, by name: each takes a port and options.
    """

    name: str
    build: Callable[[Path], Application]
    threads: Mapping[str, Callable[..., ThreadServer]]
    commands: Mapping[str, Callable[..., list[str]]]


_QUART_APP = f"{quart_app.__name__}:create_app"

QUART = Framework(
    "quart",
    quart_app.build,
    {"uvicorn": UvicornThread, "hypercorn": HypercornThread},
    {
        "uvicorn": lambda port, *options: uvicorn_command(_QUART_APP, port, *options),
        "hypercorn": lambda port, *options: hypercorn_command(_QUART_APP, port, "--graceful-timeout", "1", *options),
    },
)
FLASK = Framework(
    "flask",
    flask_app.build,
    {"waitress": WaitressThread, "werkzeug": WerkzeugThread},
    {"gunicorn": lambda port, *options: gunicorn_command(f"{flask_app.__name__}:create_app", port, *options)},
)
FRAMEWORKS = (QUART, FLASK)
# Every server of every framework, for scenarios in which servers differ.
SERVED = tuple((framework, server) for framework in FRAMEWORKS for server in framework.threads)
