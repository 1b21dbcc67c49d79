"""
The layers of package and tools, and what the core may not use: read from the imports, so that nobody has to remember.

A module imports from lower lines of the table. Of two names joined by a comma the left may import the right; names
joined by a bar never import each other. An import for type checkers alone is no dependency, but in the core.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import inngest_durable
import pytest

LAYERS = """
quart | flask | testing | cli | otel
_werkzeug, _routes | _cli_text
client, _endpoints, endpoint | client, _life | client, _blocking | _asgi, _asgi_exchange | _wsgi, _environ, _wsgi_server
inbox, idempotency, ending, exchange | output, stream | _shutdown | _recording | _scopes | health
step | sync | engines.embedded | engines.inngest | _traced_pass, _spans
_event_steps, _steps | _fetch | _progress
_task_pass, _task_step | _thread_pass
_pass, _context | _quiet | _calls | _thread_branches | _portal | engines.attempts | engines.ulids | engines.background
_drive | _threads | _logs | engines.clock, engines.told, engines.base, engines.passes | engines.watch
engines.store, engines.records
_core
errors, _step_keys | _extras
"""

# Whatever reads a clock, throws dice, starts something, waits, or touches the world outside.
BANNED_IN_CORE = frozenset(
    (
        *("asyncio", "anyio", "concurrent", "contextvars", "multiprocessing", "queue", "signal", "threading"),
        *("random", "secrets", "time", "ulid", "uuid"),
        *(
            "fcntl",
            "httpx",
            "io",
            "logging",
            "os",
            "pathlib",
            "shutil",
            "socket",
            "sqlite3",
            "subprocess",
            "sys",
            "tempfile",
        ),
    )
)
BANNED_CALLS_IN_CORE = frozenset(("now", "utcnow", "today", "open", "print", "input"))
FRAMEWORKS = {"quart": {"quart"}, "flask": {"flask"}, "_werkzeug": {"werkzeug"}, "_routes": {"werkzeug"}}

# What is no package, from the top: of these, too, none imports one beside or above it.
TOOLS = (("bench", "chaos", "crash_matrix"), ("e2e",), ("testkit",))

PACKAGE = "inngest_durable"
REPOSITORY = Path(__file__).parents[3]
ROOT = Path(inngest_durable.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in ROOT.rglob("*.py")
}


def unit_of(module: str) -> str | None:
    """Return the name that stands for *module* in the table."""
    names = {name for line in LAYERS.split("\n") for group in line.split("|") for name in group.split(",")}
    units = {name.strip() for name in names} - {""}
    parts = module.split(".")
    return next((unit for n in range(len(parts), 0, -1) if (unit := ".".join(parts[:n])) in units), None)


def may_import(importer: str, imported: str) -> bool:
    """Tell whether the table lets *importer* import *imported*."""
    lines = [line.split("|") for line in LAYERS.strip().split("\n")]
    groups = [[[name.strip() for name in group.split(",")] for group in line] for line in lines]
    row_of = {name: row for row, line in enumerate(groups) for group in line for name in group}
    if row_of[importer] != row_of[imported]:
        return row_of[importer] < row_of[imported]
    return any(
        importer in group and imported in group and group.index(importer) <= group.index(imported)
        for group in groups[row_of[importer]]
    )


def imports_of(module: str, source: str) -> Iterator[tuple[str, bool]]:
    """Yield the full name of each imported module, and whether it is imported for type checkers alone."""
    tree = ast.parse(source)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    package = [PACKAGE, *module.split(".")]
    if MODULES.get(module, Path()).name != "__init__.py":
        package.pop()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            # `from . import step` imports a module; `from .step import run` a name.
            for alias in node.names:
                inner = f"{name}.{alias.name}".removeprefix(f"{PACKAGE}.")
                yield (f"{PACKAGE}.{inner}" if inner in MODULES else name), node in for_types


def faults_of(module: str, source: str) -> list[str]:
    """Return what *module* does that its place in the table does not allow."""
    unit = unit_of(module)
    if unit is None:
        return [f"{module} has no place in the table of layers: give it one"]
    faults = []
    for name, for_types in imports_of(module, source):
        root, _, inner = name.partition(".")
        if root == PACKAGE:
            other = unit_of(inner)
            if other is None:
                faults.append(f"{module} imports {name}, which has no place in the table of layers")
            elif not may_import(unit, other) and not (for_types and unit != "_core"):
                faults.append(f"{module} imports {name}")
        elif unit == "_core" and root in BANNED_IN_CORE:
            faults.append(f"{module} imports {name}, which the core may not use")
        elif root in {"quart", "flask", "werkzeug"} and root not in FRAMEWORKS.get(unit, ()):
            faults.append(f"{module} imports {name}: only its adapter knows a framework")
    return faults + (list(_calls_in(module, source)) if unit == "_core" else [])


def _calls_in(module: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f"{module} is asynchronous in line {node.lineno}"
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            # A time that is given as `now=` is called by `self.now()`.
            if called in BANNED_CALLS_IN_CORE and ast.unparse(node.func) not in ("journal.now", "self.now"):
                yield f"{module} calls {ast.unparse(node.func)}()"


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"", "engines"}))
def test_module_keeps_to_its_layer(module: str) -> None:
    """Imports go downward, and the core stays pure."""
    assert faults_of(module, MODULES[module].read_text()) == []


def test_package_itself_has_no_logic() -> None:
    """``__init__.py`` holds a docstring, imports and ``__all__``."""
    tree = ast.parse(MODULES[""].read_text())

    assert {type(node) for node in tree.body} <= {ast.Expr, ast.ImportFrom, ast.Assign}
    assert MODULES["engines"].read_text() == ""


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("_core.retry", "from ..engines.base import Clock", "_core.retry imports inngest_durable.engines.base"),
        ("_core.retry", "from .. import step", "_core.retry imports inngest_durable.step"),
        ("_core.retry", "if TYPE_CHECKING:\n    from .._pass import Pass", "_core.retry imports inngest_durable._pass"),
        ("_core.retry", "import os.path", "_core.retry imports os.path, which the core may not use"),
        ("_core.retry", "def f():\n    from time import time", "_core.retry imports time, which the core may not use"),
        ("_core.retry", "datetime.now(UTC)", "_core.retry calls datetime.now()"),
        ("_core.retry", "open('x')", "_core.retry calls open()"),
        ("_core.retry", "async def f(): ...", "_core.retry is asynchronous in line 1"),
        ("errors", "from ._core import model", "errors imports inngest_durable._core.model"),
        ("_drive", "from .engines import base", "_drive imports inngest_durable.engines.base"),
        ("_context", "from ._pass import Pass", "_context imports inngest_durable._pass"),
        ("_calls", "from . import _context", "_calls imports inngest_durable._context"),
        (
            "step",
            "from .engines.embedded.store import SqliteStore",
            "step imports inngest_durable.engines.embedded.store",
        ),
        (
            "engines.embedded.engine",
            "from ...client import Inngest",
            "engines.embedded.engine imports inngest_durable.client",
        ),
        ("endpoint", "from .client import Inngest", "endpoint imports inngest_durable.client"),
        ("testing", "import inngest_durable.quart", "testing imports inngest_durable.quart"),
        ("client", "import quart", "client imports quart: only its adapter knows a framework"),
        ("flask", "import quart", "flask imports quart: only its adapter knows a framework"),
        ("new", "", "new has no place in the table of layers: give it one"),
    ],
    ids=lambda case: case.replace("\n", " "),
)
def test_fault_is_found(module: str, source: str, fault: str) -> None:
    """The check sees what it is there for."""
    assert faults_of(module, source) == [fault]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("_core.retry", "from .duration import seconds\nfrom ..errors import StepError\nimport math, hashlib"),
        ("_core.retry", "self.now()"),
        ("_context", "if TYPE_CHECKING:\n    from ._pass import Pass"),
        ("_pass", "from . import _context\nfrom .engines.base import Clock\nimport asyncio"),
        ("client", "from .endpoint import Endpoint\nfrom .engines.embedded.engine import EmbeddedEngine"),
        ("engines.embedded.engine", "from .store import SqliteStore\nfrom ..base import Clock"),
        ("quart", "import quart\nfrom ._werkzeug import WerkzeugAdapter\nfrom ._asgi import AsgiEdge"),
        ("_werkzeug", "from werkzeug.exceptions import HTTPException"),
    ],
)
def test_good_import_is_no_fault(module: str, source: str) -> None:
    """The check lets pass what the table allows."""
    assert faults_of(module, source) == []


def tool_faults_of(tool: str, source: str) -> list[str]:
    """Return what *source*, a module of a folder in the root, imports from tests, or from a tool beside or above it."""
    row = next(row for row, tools in enumerate(TOOLS) if tool in tools)
    closed = {other for tools in TOOLS[: row + 1] for other in tools} - {tool} | {"apps", "packages"}
    return [f"{tool} imports {name}" for name, _ in imports_of("", source) if name.partition(".")[0] in closed]


@pytest.mark.parametrize("tool", [tool for tools in TOOLS for tool in tools])
def test_tool_imports_from_no_tests(tool: str) -> None:
    """What tools and tests share is in `testkit`."""
    modules = sorted((REPOSITORY / tool).rglob("*.py"))

    assert modules
    assert [fault for module in modules for fault in tool_faults_of(tool, module.read_text())] == []


@pytest.mark.parametrize(
    ("tool", "source", "faults"),
    [
        ("chaos", "from packages.inngest_durable.tests.store import samples", 1),
        ("chaos", "from crash_matrix.crew import Crew", 1),
        ("testkit", "from e2e.trip_booker import TripBooker", 1),
        ("e2e", "from testkit.waiting import wait_until", 0),
        ("chaos", "from chaos.plan import Plan", 0),
    ],
)
def test_import_of_a_tool_is_judged(tool: str, source: str, faults: int) -> None:
    """The check sees what it is there for, and lets pass what is allowed."""
    assert len(tool_faults_of(tool, source)) == faults
