"""
Starts servers quickly: everything is imported once, then each server is a fork. A program, run by `test_random_kills`.

It reads lines: ``start`` forks a server and answers with its process ID; ``reap`` waits for that server's end and
answers with how it ended. The servers listen on PORT and serve the application of `quart_app`.
"""

from __future__ import annotations

import os
import sys

import uvicorn

from packages.inngest_durable.tests.crash.quart_app import create_app


def serve() -> None:
    """Serve the application in this process."""
    uvicorn.run(create_app, factory=True, port=int(os.environ["PORT"]), log_level="warning")


def main() -> None:
    """Obey the lines on the standard input."""
    server = 0
    for line in sys.stdin:
        if line.strip() == "start":
            server = os.fork()
            if not server:
                serve()
                os._exit(0)
            answer = server
        else:
            _, answer = os.waitpid(server, 0)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
