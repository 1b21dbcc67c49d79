"""
The `Bun.serve` example of Inngest's Durable Endpoints reference, in Flask: `/process` is durable, `/wait` waits for it.

README.md puts both side by side. Try it with `curl -L 'http://127.0.0.1:3000/process?id=42&fail=2'`.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import waitress
from flask import Flask, Response, jsonify, request
from inngest_durable import Inngest, StepError
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import step

# When setting the `endpoint_adapter`, use `.with_options()` to set more config
inngest = Inngest(app_id="my-app", endpoint_adapter=endpoint_adapter.with_options(async_redirect_url="/wait"))
app = Flask(__name__)


def process_item(item_id: str, failures: int) -> dict[str, str]:
    """Call an API that fails the first *failures* times. It counts in a file: the outside world forgets nothing."""
    calls = Path(os.environ.get("CALLS", ".inngest/calls")) / step.idempotency_key()
    calls.parent.mkdir(parents=True, exist_ok=True)
    with calls.open("a") as count:
        count.write(".")
        if count.tell() <= failures:
            raise ConnectionError(f"the API is down (call {count.tell()})")
    return {"id": item_id, "status": "processed"}


@app.get("/process")
@inngest.endpoint
def process() -> Response | tuple[Response, int]:
    """Process the item that the query string names."""
    # Read data from query parameters
    item_id = request.args.get("id", "1")
    failures = request.args.get("fail", 0, type=int)
    try:
        result = step.run("process", process_item, item_id, failures)
        return jsonify(result=result)
    except StepError:
        # All retries exhausted, handle gracefully
        return jsonify(error="Operation failed after retries"), 500


# Then create the route with `inngest.endpoint_proxy()`
app.add_url_rule("/wait", view_func=inngest.endpoint_proxy(), methods=["GET", "OPTIONS"])
inngest.init_app(app)

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)  # waitress says where it serves
    inngest.start()
    waitress.serve(app, host="127.0.0.1", port=int(os.environ.get("PORT", "3000")), threads=8)
