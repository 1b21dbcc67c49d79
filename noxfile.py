"""
Everything one can do with this repository: `nox -s demo` to try it, plain `nox` for all checks.

Each session has its own virtual environment under .nox/, made on first use and kept for the next time.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.sessions = ["lint", "types", "docs", "tests", "e2e"]
nox.options.reuse_venv = "yes"
# Not uv: it takes a folder for unchanged while its pyproject.toml is, so demo and e2e would run yesterday's code.
nox.options.default_venv_backend = "virtualenv"
# A session that was asked for and found no Python has tested nothing.
nox.options.error_on_missing_interpreters = True

SDK = "./packages/inngest_durable[quart,flask]"
TRIP_BOOKER = "./apps/trip_booker"
BUN_EQUIVALENT = "./apps/bun_equivalent"
# Tests mostly wait, for servers that start and for pauses that end: twice as many processes as CI has cores.
PARALLEL = ["--numprocesses=4", "--dist=worksteal"]
PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> tuple[str, ...]:
    """Return what the dependency group *name* of pyproject.toml asks for."""
    return nox.project.dependency_groups(PYPROJECT, name)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the trip booker on http://127.0.0.1:3000 (PORT changes that); kill it as often as you like."""
    session.install("-q", SDK, TRIP_BOOKER)
    session.run("python", "-m", "trip_booker", *session.posargs)


@nox.session
def bun_equivalent(session: nox.Session) -> None:
    """Run the reference's `Bun.serve` example, in Flask, on http://127.0.0.1:3000 (PORT changes that)."""
    session.install("-q", SDK, BUN_EQUIVALENT)
    session.run("python", "-m", "bun_equivalent")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format; `ruff format .` and `ruff check --fix .` repair what they can."""
    session.install("-q", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types strictly, tests and tooling included."""
    session.install("-q", *group("types"), "-e", SDK, "-e", TRIP_BOOKER, "-e", BUN_EQUIVALENT)
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """
    Test SDK, apps and documentation, with short forms of chaos and crash matrix, in four processes.

    `nox -s tests -- -k retry` runs a part in one.
    """
    session.install("-q", *group("test"), "-e", SDK, "-e", TRIP_BOOKER, "-e", BUN_EQUIVALENT)
    session.run("pytest", *(session.posargs or PARALLEL))


@nox.session(python=["3.12", "3.13", "3.14"])
def other_pythons(session: nox.Session) -> None:
    """Test on other Pythons, which may bring a newer Quart: `nox -s other_pythons-3.13`, or all without a number."""
    tests(session)


@nox.session
def e2e(session: nox.Session) -> None:
    """Test the built packages with a real browser, real server processes and real `kill -9`."""
    session.install("-q", *group("browser"), SDK, TRIP_BOOKER, BUN_EQUIVALENT)
    session.run("python", "-m", "e2e.browser")
    # Two browsers at a time, as many as CI has cores.
    session.run("pytest", "e2e", *(session.posargs or ("--numprocesses=2", "--dist=worksteal")))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/docs, after a look at what its pages quote; `-- --write` renews those quotes."""
    session.install("-q", *group("docs"), "-e", SDK)
    pages = sorted(str(page) for suffix in ("md", "svg") for page in Path("docs").glob(f"*.{suffix}"))
    how = ["-r"] if session.posargs == ["--write"] else ["--check", "--diff", "--check-fail-msg=nox -s docs -- --write"]
    session.run("cog", *how, "-I", ".", "-p", "from docs.quotes import *", *pages)
    session.run("sphinx-build", "-q", "-E", "-W", "--keep-going", "-d", "build/doctrees", "docs", "build/docs")


@nox.session
def inngest(session: nox.Session) -> None:
    """Run the scenarios of both engines on the Inngest server that INNGEST_DEV names, e.g. http://127.0.0.1:8288."""
    session.install("-q", *group("test"), "-e", SDK)
    session.run("pytest", "packages/inngest_durable/tests/inngest/conformance", "-k", "real", "-rs", *session.posargs)


@nox.session
def crash_matrix(session: nox.Session) -> None:
    """Kill the application at every point, with every pattern, and write the table; `-- --only <cell>` plays some."""
    session.install("-q", *group("test"), "-e", SDK)
    session.run("python", "-m", "crash_matrix", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure durable against plain requests: `-- --quick` in half a minute, `-- --help` for the rest."""
    session.install("-q", *group("bench"), SDK)
    session.create_tmp()
    # "life" measures restarts, sleeping runs and two workers instead; "waits" runs that wait for events; "curve" files
    # with up to a million runs; "choices" what an application can choose.
    parts = (["life"], ["waits"], ["curve"], ["choices"])
    of, *options = session.posargs if session.posargs[:1] in parts else ["__main__", *session.posargs]
    session.run("python", "-m", f"bench.{of}", *options)


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill, stop and starve workers under load, then account for every request: `-- --minutes 5 --seed 1`."""
    session.install("-q", *group("test"), "-e", SDK)
    session.run("python", "-m", "chaos", *session.posargs)
