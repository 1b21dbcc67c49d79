"""Gunicorn's configuration, as the documentation shows it: each worker starts its engine."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Start the engine in a worker that was forked, when gunicorn has set its own signal handlers."""
    worker.wsgi.extensions["inngest"].start()
