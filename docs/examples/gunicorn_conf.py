"""Saved as `gunicorn.conf.py`, where gunicorn finds it. Each worker starts its engine as soon as it is there."""

from __future__ import annotations

from typing import Any

workers = 2
worker_class = "gthread"
threads = 16
# Longer than the engine takes to end the steps in flight.
graceful_timeout = 30


def post_worker_init(worker: Any) -> None:
    """Take over the runs of dead workers before the first request comes in."""
    worker.wsgi.extensions["inngest"].start()
