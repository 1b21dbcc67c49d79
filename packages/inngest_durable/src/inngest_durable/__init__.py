"""Durable Endpoints for Python: wrap an HTTP handler, put each side effect in a step, survive any crash."""

from __future__ import annotations

from . import step
from ._core.events import Event, Signal
from ._core.limits import Limits
from ._core.options import StepOptions
from ._core.retry import RetryPolicy
from ._fetch import FetchResponse
from ._progress import progress
from .client import Inngest
from .engines.embedded.engine import EmbeddedEngine
from .engines.inngest.engine import InngestEngine
from .errors import (
    ConfigurationError,
    EndpointNotReachedError,
    EventError,
    InngestError,
    LimitExceededError,
    NestedStepError,
    NonRetriableError,
    OutsideEndpointError,
    OutsideStepError,
    ReplayMismatchError,
    RequestTooLargeError,
    RetryAfterError,
    RunInterrupt,
    RunNotFoundError,
    SignalTakenError,
    StepError,
    StepTimeoutError,
    StepUsageError,
    StepValueError,
    StoreError,
)

__all__ = [
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
