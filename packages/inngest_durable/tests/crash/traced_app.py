"""
The application of `trips_app`, traced: each span is written to a file as it ends, with the process that wrote it.

`create_quart_app` and `create_flask_app` take its folder from FOLDER.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inngest_durable import Inngest
from inngest_durable.otel import instrument
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from quart import Quart

from packages.inngest_durable.tests.adapters.traces import facts, identity, parent
from packages.inngest_durable.tests.crash.trips_app import build
from testkit import colourless


class FileExporter(SpanExporter):
    """Appends a line of JSON for each span; `spans_in` reads them."""

    def __init__(self, folder: Path) -> None:
        self._path = _file_in(folder)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write *spans*."""
        with self._path.open("a") as file:
            for span in spans:
                told = {"name": span.name, "self": identity(span), "parent": parent(span), "facts": facts(span)}
                file.write(json.dumps({**told, "pid": os.getpid()}) + "\n")
        return SpanExportResult.SUCCESS


def spans_in(folder: Path) -> list[dict[str, Any]]:
    """Return the spans that all processes have written, in that order."""
    # The last line may be half written.
    whole = _file_in(folder).read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def create_quart_app() -> Quart:
    """Return the application on Quart."""
    return build(_trace)[0]


def create_flask_app() -> Quart:
    """Return the application on Flask, whose runs go on at once."""
    return colourless.on_flask(partial(build, _trace))


def _trace(inngest: Inngest) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter(Path(os.environ["FOLDER"]))))
    instrument(inngest, provider)


def _file_in(folder: Path) -> Path:
    return folder / "spans.jsonl"
