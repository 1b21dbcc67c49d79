"""Each log record as one line of JSON, with the run and the step that it tells of."""

from __future__ import annotations

import json
import logging


class JsonFormatter(logging.Formatter):
    """Formats records for whatever collects the logs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line."""
        fields = {"time": record.created, "level": record.levelname, "message": record.getMessage()}
        # Only what tells of a run has them.
        fields |= {name: getattr(record, name) for name in ("run_id", "step") if hasattr(record, name)}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def log_json(level: int = logging.INFO) -> None:
    """Write all logs of this process to standard error, as JSON. Call it before the application is made."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler])
