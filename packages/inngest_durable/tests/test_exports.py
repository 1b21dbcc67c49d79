"""The public names. Another name here is a promise; one less is a breaking change."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import inngest_durable
import pytest
from inngest_durable import errors, step, sync

NAMES = [
    "ConfigurationError",
    "EmbeddedEngine",
    "EndpointNotReachedError",
    "Event",
    "EventError",
    "FetchResponse",
    "Inngest",
    "InngestEngine",
    "InngestError",
    "LimitExceededError",
    "Limits",
    "NestedStepError",
    "NonRetriableError",
    "OutsideEndpointError",
    "OutsideStepError",
    "progress",
    "ReplayMismatchError",
    "RequestTooLargeError",
    "RetryAfterError",
    "RetryPolicy",
    "RunInterrupt",
    "RunNotFoundError",
    "Signal",
    "SignalTakenError",
    "step",
    "StepError",
    "StepOptions",
    "StepTimeoutError",
    "StepUsageError",
    "StepValueError",
    "StoreError",
]
STEP_NAMES = [
    "fetch",
    "idempotency_key",
    "invoke",
    "run",
    "send_event",
    "send_signal",
    "sleep",
    "sleep_until",
    "wait_for_event",
    "wait_for_signal",
]


@pytest.mark.parametrize(("module", "names"), [(inngest_durable, NAMES), (step, STEP_NAMES)], ids=["package", "step"])
def test_public_names_are_pinned(module: ModuleType, names: list[str]) -> None:
    """``__all__`` is what it was, sorted without regard to case."""
    assert sorted(names, key=str.casefold) == names
    assert module.__all__ == names


@pytest.mark.parametrize("module", [inngest_durable, step], ids=["package", "step"])
def test_public_names_exist(module: ModuleType) -> None:
    """Each name can be imported."""
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_every_error_is_public() -> None:
    """What the package raises can be caught by a name of the package."""
    classes = inspect.getmembers(errors, lambda found: inspect.isclass(found) and issubclass(found, BaseException))

    assert {name for name, _ in classes} - set(inngest_durable.__all__) == set()


def test_step_has_no_other_public_functions() -> None:
    """Every function without underscore that is defined in `step` is meant to be used."""
    defined = [
        name
        for name, found in inspect.getmembers(step, inspect.isfunction)
        if found.__module__ == step.__name__ and not name.startswith("_")
    ]

    assert defined == STEP_NAMES


@pytest.mark.parametrize("name", [name for name in inngest_durable.__all__ if name != "step"])
def test_public_class_has_a_docstring(name: str) -> None:
    """The first thing a user reads."""
    assert inspect.getdoc(getattr(inngest_durable, name))


def test_package_imports_no_framework() -> None:
    """Who uses Flask need not have Quart, and the other way round."""
    code = "import sys, inngest_durable.testing; print({'quart', 'flask', 'werkzeug'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_package_does_not_import_opentelemetry() -> None:
    """It is an extra, and costs those nothing who do not ask for it."""
    modules = "inngest_durable.testing, inngest_durable.quart, inngest_durable.flask, inngest_durable.cli"
    code = f"import sys, {modules}; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("module", "library"),
    [("quart", "quart"), ("quart", "werkzeug"), ("flask", "flask"), ("flask", "werkzeug"), ("otel", "opentelemetry")],
)
def test_module_without_its_library_says_what_to_install(module: str, library: str) -> None:
    """It is an extra of the same name; whatever is missing is named, be it only what the library itself needs."""
    code = f"import sys; sys.modules[{library!r}] = None; import inngest_durable, inngest_durable.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.endswith(
        f"ModuleNotFoundError: inngest_durable.{module} needs {library}, which is not installed: "
        f'pip install "inngest-durable[{module}]"\n'
    )


def test_traces_have_one_public_name() -> None:
    assert importlib.import_module("inngest_durable.otel").__all__ == ["instrument"]


def test_adapter_has_its_own_import_path() -> None:
    """One path for each optional dependency."""
    assert hasattr(importlib.import_module("inngest_durable.quart"), "endpoint_adapter")
    assert not hasattr(inngest_durable, "endpoint_adapter")


def test_steps_of_both_colours_have_the_same_names() -> None:
    """A handler moves from Quart to Flask by another import, and without its awaits."""
    assert sync.step.__all__ == step.__all__
    assert sync.__all__ == ["group", "step"]


def test_adapters_have_the_same_names_in_the_same_order() -> None:
    """Who knows one knows the other."""
    quart, flask = (importlib.import_module(f"inngest_durable.{name}") for name in ("quart", "flask"))

    def names_of(adapter: type) -> list[str]:
        return [name for name in vars(adapter) if not name.startswith("_")]

    assert [name.replace("Quart", "Flask") for name in quart.__all__] == flask.__all__
    assert names_of(quart.QuartAdapter) == names_of(flask.FlaskAdapter)
