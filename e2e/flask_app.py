"""
The Flask example, which pages of other origins may use: ``python -m e2e.flask_app``.

Who may read an endpoint's own answers is the application's affair, and told in a hook. Those of its wait URL may be
read by every page that has the run's token.
"""

from __future__ import annotations

import os

import waitress
from bun_equivalent import app, inngest
from flask import Response


@app.after_request
def allow_every_origin(response: Response) -> Response:
    """Let every page read the answer."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


if __name__ == "__main__":
    inngest.start()
    waitress.serve(app, host="127.0.0.1", port=int(os.environ["PORT"]), threads=8)
