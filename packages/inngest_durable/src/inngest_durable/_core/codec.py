"""
Values in and out of memos: JSON by msgspec, decoded to the type in the step function's annotation. Never pickle.

A value is encoded, decoded and only then saved, so that the first pass sees what every replay will see.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import math
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

import msgspec

from ..errors import StepValueError
from .journal import HINT

AnyFunction = Callable[..., Any]

MOST_CODECS = 1024


class ResultCodec:
    """
    Encodes and decodes the results of one step function.

    Args:
        function: The step function; its return annotation is the type that results are decoded to.

    Raises:
        StepValueError: The annotation cannot be resolved, or msgspec has no JSON form for it.
    """

    __slots__ = ("_decoder", "_name", "_type")

    def __init__(self, function: AnyFunction) -> None:
        self._name = qualified_name(function)
        self._type = _return_type(function)
        try:
            self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self._type, dec_hook=_from_builtins)
        except TypeError as error:
            raise StepValueError(f"{self._name} returns {self._type!r}, which has no JSON form: {error}") from error

    def encode(self, value: Any) -> bytes:
        """
        Return *value* as JSON bytes.

        Raises:
            StepValueError: It has no JSON form, or holds NaN or an infinity, which JSON does not have.
        """
        try:
            data = _encoder.encode(value)
            unreal = b"null" in data and has_unreal_number(msgspec.to_builtins(value, enc_hook=_to_builtins))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise StepValueError(f"{self._name} returned a {type(value).__qualname__}: {error}") from error
        if unreal:
            raise StepValueError(f"{self._name} returned NaN or an infinity, which JSON cannot hold")
        return data

    def decode(self, data: bytes) -> Any:
        """
        Return the value that *data* holds.

        Raises:
            StepValueError: It is not of the annotated type.
        """
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            raise StepValueError(f"the result of {self._name} is not of its annotated type: {error}") from error


def result_codec(function: AnyFunction) -> ResultCodec:
    """Return the codec for *function*'s results, made once for each function that has an annotation."""
    function = _annotated(function)
    returns = _return_annotation(function)
    if returns is Any:
        return _PLAIN
    # By its code, not by the function: a nested one is made anew for each request, and holds on to what it closes over.
    # What a decorator makes of two functions has the same code; the code of the functions within differs. Code does not
    # name its file: in a copy of a module it is equal, and the annotation means the copy's type.
    key = function.__module__, getattr(function, "__code__", function), returns
    try:
        codec = _codecs.get(key)
    except TypeError:
        # An annotation with metadata that has no hash.
        return ResultCodec(function)
    if codec is None:
        if len(_codecs) >= MOST_CODECS:
            # Types that are made anew for each request would fill the memory.
            _codecs.clear()
        codec = _codecs[key] = ResultCodec(function)
    return codec


def qualified_name(function: AnyFunction) -> str:
    """Return ``module.qualname`` of what *function* finally calls."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def fingerprint(function: AnyFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """
    Return what identifies a call: the function's qualified name and, if they can be encoded, a digest of its arguments.

    If an argument has no JSON form (a session, a client), or there are none, the name alone identifies the call. It is
    then followed by a hint: a digest of what else the function is given or holds, as a closure does.
    """
    name = qualified_name(function)
    partials: list[Any] = []
    while isinstance(function, functools.partial):
        partials += [function.args, function.keywords]
        function = function.func
    if not (args or kwargs or partials):
        return name + _hint(_held_by(function))
    try:
        encoded = msgspec.json.encode([args, kwargs, partials], enc_hook=_to_builtins, order="sorted")
    except (TypeError, ValueError, OverflowError, RecursionError):
        return name + _hint([*args, *kwargs.values(), *_held_by(function)])
    return f"{name}({_digest(encoded)})"


def _held_by(function: AnyFunction) -> list[Any]:
    """Return what *function* knows besides its arguments: the variables of a closure, the object of a method."""
    held = [getattr(function, "__self__", None)]
    for cell in getattr(function, "__closure__", None) or ():
        # A variable that has no value yet raises.
        with contextlib.suppress(ValueError):
            held.append(cell.cell_contents)
    return held


def _hint(values: Iterable[Any]) -> str:
    """Return a hint made of those *values* that have a JSON form; empty if none has."""
    encoded = []
    for value in values:
        # Whatever an object raises when asked, a hint is not worth an error.
        with contextlib.suppress(Exception):
            encoded += [] if value is None else [msgspec.json.encode(value, enc_hook=_to_builtins, order="sorted")]
    return HINT + _digest(b",".join(encoded)) if encoded else ""


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def _annotated(function: AnyFunction) -> AnyFunction:
    """Return the function whose annotations say what a call of *function* returns."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            # Since Python 3.14 a wrapper keeps annotations of its own, which say little.
            function = inspect.unwrap(function)
        else:
            break
    # A callable object may have annotations as well: those of its fields.
    return function if hasattr(function, "__code__") or isinstance(function, type) else type(function).__call__


def _return_annotation(function: AnyFunction) -> Any:
    try:
        annotations = getattr(function, "__annotations__", {})
    except NameError:
        # Since Python 3.14 this evaluates all of them, and a parameter's type may exist for type checkers only.
        annotationlib = importlib.import_module("annotationlib")
        annotations = annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return annotations.get("return", Any)


def _return_type(function: AnyFunction) -> Any:
    # The return annotation alone: those of the parameters may name types that exist for type checkers only.
    returns = SimpleNamespace(__annotations__={"return": _return_annotation(function)})
    names = getattr(function, "__globals__", {})
    parameters = {parameter.__name__: parameter for parameter in getattr(function, "__type_params__", ())}
    try:
        hint = typing.get_type_hints(returns, names, parameters, include_extras=True)["return"]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise StepValueError(
            f"the return annotation of {qualified_name(function)} cannot be resolved: {error}. "
            "Import its types at run time, not under `if TYPE_CHECKING`"
        ) from error
    if typing.get_origin(hint) in (Awaitable, Coroutine):
        hint = typing.get_args(hint)[-1]
    # What only raises has no result to decode.
    return Any if hint in (typing.NoReturn, typing.Never) else hint


def _to_builtins(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a {type(value).__qualname__} has no JSON form")
    # By field names: a model may take its values by other aliases than those by which it gives them.
    return dump(mode="json", by_alias=False, round_trip=True)


def _from_builtins(wanted: Any, value: Any) -> Any:
    if wanted is object:
        return value
    validate = getattr(wanted, "model_validate_json", None)
    if validate is None:
        raise TypeError(f"cannot make a {wanted!r} from JSON")
    # As JSON, in which a strict model takes a string for a date.
    return validate(msgspec.json.encode(value), by_name=True)


def has_unreal_number(value: Any) -> bool:
    """Return whether there is NaN or an infinity in plain *value*; in JSON that would be null."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(has_unreal_number, value.values()))
    return isinstance(value, list | tuple) and any(map(has_unreal_number, value))


def _anything() -> Any:
    """Stand for a step function that has no return annotation."""


_encoder = msgspec.json.Encoder(enc_hook=_to_builtins)
_PLAIN = ResultCodec(_anything)
_PLAIN._name = "the step function"
_codecs: dict[tuple[str, Any, Any], ResultCodec] = {}
