"""Steps for ``def`` handlers, which run in threads: ``from inngest_durable.sync import group, step``."""

from __future__ import annotations

from . import group, step

__all__ = ["group", "step"]
