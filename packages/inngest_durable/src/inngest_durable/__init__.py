"""Durable Endpoints for Python: wrap an HTTP handler, put each side effect in a step, survive any crash."""

from __future__ import annotations

from . import step
from ._core.limits import Limits
from ._core.options import StepOptions
from ._core.retry import RetryPolicy
from .client import Inngest
from .engines.embedded.engine import EmbeddedEngine
from .errors import (
    ConfigurationError,
    EndpointNotReachedError,
    InngestError,
    LimitExceededError,
    NestedStepError,
    NonRetriableError,
    OutsideEndpointError,
    ReplayMismatchError,
    RequestTooLargeError,
    RetryAfterError,
    RunInterrupt,
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
    "Inngest",
    "InngestError",
    "LimitExceededError",
    "Limits",
    "NestedStepError",
    "NonRetriableError",
    "OutsideEndpointError",
    "ReplayMismatchError",
    "RequestTooLargeError",
    "RetryAfterError",
    "RetryPolicy",
    "RunInterrupt",
    "step",
    "StepError",
    "StepOptions",
    "StepTimeoutError",
    "StepUsageError",
    "StepValueError",
    "StoreError",
]
