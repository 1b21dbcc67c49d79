"""Values in and out of memos."""

from __future__ import annotations

import enum
import functools
import math
import sys
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import FunctionType
from typing import Annotated, Any, NamedTuple, Never, NoReturn, TypedDict

import msgspec
import pydantic
import pytest
from inngest_durable import StepValueError
from inngest_durable._core.codec import MOST_CODECS, _codecs, fingerprint, qualified_name, result_codec


@dataclass
class Flight:
    """A dataclass, with values that JSON does not have."""

    number: str
    leaves: datetime
    price: Decimal


class Seat(msgspec.Struct, frozen=True):
    """A Struct."""

    row: int
    letter: str = "A"


class Hold(TypedDict):
    """A TypedDict of other types."""

    id: uuid.UUID
    seat: Seat


class Cabin(enum.Enum):
    """An enum of texts."""

    FIRST = "first"
    COACH = "coach"


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: int


class Model(pydantic.BaseModel):
    """A pydantic model."""

    id: int
    tags: list[str] = []


class Booking(pydantic.BaseModel, extra="forbid", strict=True):
    """One with all that a model may give in another form than it takes."""

    booking_id: uuid.UUID = pydantic.Field(alias="bookingId")
    total: Decimal = pydantic.Field(serialization_alias="sum")
    leaves: datetime = pydantic.Field(validation_alias="departure")
    extras: pydantic.Json[list[str]]
    model: Model

    @pydantic.computed_field
    def doubled(self) -> Decimal:
        """Return what is no field."""
        return self.total * 2


class Plain:
    """A class that has no JSON form."""


UNTYPED = object()
LEAVES = datetime(2026, 12, 24, 9, 30, tzinfo=UTC)
HOLD_ID = uuid.UUID("6f2c1f0e-6b1e-4a38-9f8e-0d9a3c1a5b77")
BOOKING = Booking.model_validate(
    {"bookingId": HOLD_ID, "total": Decimal("9.50"), "departure": LEAVES, "extras": '["meal"]', "model": Model(id=1)}
)


def returning(annotation: Any = UNTYPED) -> Callable[[], Any]:
    """Return a step function that is annotated to return *annotation*, or not annotated."""

    def book():  # type: ignore[no-untyped-def]
        raise NotImplementedError

    if annotation is not UNTYPED:
        book.__annotations__["return"] = annotation
    return book


def round_trip(value: Any, annotation: Any = UNTYPED) -> Any:
    """Return what a replay sees of *value*."""
    codec = result_codec(returning(annotation))
    return codec.decode(codec.encode(value))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 3),
        (float, 0.1),
        (str, "Zürich ✈"),
        (bool, True),
        (int | None, None),
        (bytes, b"\x00\xff"),
        (datetime, LEAVES),
        (date, date(2026, 12, 24)),
        (timedelta, timedelta(days=1, microseconds=1)),
        (Decimal, Decimal("19.90")),
        (uuid.UUID, HOLD_ID),
        (Cabin, Cabin.COACH),
        (Flight, Flight("LX 14", LEAVES, Decimal("499.00"))),
        (Seat, Seat(12)),
        (Hold, Hold(id=HOLD_ID, seat=Seat(12, "F"))),
        (Point, Point(1, 2)),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (frozenset[int], frozenset({1, 2})),
        (list[Flight], [Flight("LX 14", LEAVES, Decimal("499.00"))]),
        (dict[int, Seat], {7: Seat(1)}),
        (dict[str, object], {"seats": [1, None, {"row": 2}]}),
        (list[object], [1, "a", None]),
        (object, {"a": [1]}),
        (Any, {"a": [1]}),
        (Annotated[int, msgspec.Meta(ge=0)], 3),
        (Awaitable[Seat], Seat(3)),
        (Coroutine[Any, Any, Seat], Seat(3)),
        (Model, Model(id=1, tags=["a"])),
        (list[Model], [Model(id=1)]),
        (Booking, BOOKING),
        (None, None),
    ],
    ids=lambda case: getattr(case, "__name__", repr(case)),
)
def test_result_comes_back_as_its_annotated_type(annotation: Any, value: Any) -> None:
    """What a step function returns is what a replay returns, type and all."""
    back = round_trip(value, annotation)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({1: "a", 2.5: "b"}, {"1": "a", "2.5": "b"}),
        (
            Flight("LX 14", LEAVES, Decimal("499.00")),
            {"number": "LX 14", "leaves": "2026-12-24T09:30:00Z", "price": "499.00"},
        ),
        (Seat(12), {"row": 12, "letter": "A"}),
        (Cabin.COACH, "coach"),
        (HOLD_ID, str(HOLD_ID)),
        (b"\x00\xff", "AP8="),
        (Model(id=1), {"id": 1, "tags": []}),
        ({3}, [3]),
        (2**64 - 1, 2**64 - 1),
        (None, None),
    ],
    ids=repr,
)
def test_result_without_annotation_comes_back_as_plain_json(value: Any, expected: Any) -> None:
    """Without a type to make it of, a result is dicts, lists, texts and numbers."""
    assert round_trip(value) == expected


@pytest.mark.parametrize("annotation", [UNTYPED, object, list[float], Any], ids=["untyped", "object", "list", "Any"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_result_that_holds_no_real_number_is_refused(annotation: Any, number: float) -> None:
    """JSON has no NaN and no infinity, wherever they are."""
    value = [number] if annotation == list[float] else {"a": [1.5, {"b": (number,)}]}

    with pytest.raises(StepValueError, match="NaN or an infinity"):
        result_codec(returning(annotation)).encode(value)


def test_result_with_null_and_real_numbers_is_taken() -> None:
    """None and a text that says null are not NaN."""
    value = {"a": None, "b": "null", "c": 1.5}

    assert round_trip(value) == value


def test_unreal_number_in_a_dataclass_is_refused() -> None:
    """Numbers are looked for in what the value encodes to."""

    @dataclass
    class Price:
        amount: float
        note: str | None = None

    with pytest.raises(StepValueError, match="NaN or an infinity"):
        result_codec(returning()).encode(Price(math.nan))


@pytest.mark.parametrize(
    "value",
    [Plain(), [Plain()], ValueError("x"), (n for n in [1]), len, {(1, 2): 3}, "\udcff", object()],
    ids=lambda value: type(value).__name__,
)
def test_result_without_json_form_is_refused(value: Any) -> None:
    """The error names the type that was returned."""
    with pytest.raises(StepValueError, match=rf"returned a {type(value).__qualname__}: "):
        result_codec(returning()).encode(value)


def test_refusal_names_no_function_of_this_package() -> None:
    """What stands in for a function without annotation says nothing to its author."""

    for function in (returning(), returning(Any)):
        with pytest.raises(StepValueError) as raised:
            result_codec(function).encode(Plain())

        assert "inngest_durable._core" not in str(raised.value)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "three"),
        (str, 3),
        (int, None),
        (Seat, {"letter": "A"}),
        (Seat, Flight("LX 14", LEAVES, Decimal(1))),
        (Hold, {"id": "no uuid", "seat": {"row": 1}}),
        (tuple[int, str], (1, "a", "b")),
        (Cabin, "business"),
        (Model, [1]),
        (type(None), 3),
        (Annotated[int, msgspec.Meta(ge=0)], -1),
    ],
    ids=repr,
)
def test_result_not_of_its_annotated_type_is_refused(annotation: Any, value: Any) -> None:
    """A value that would not come back fails at once, not at the first replay."""
    with pytest.raises(StepValueError, match="not of its annotated type"):
        round_trip(value, annotation)


@pytest.mark.parametrize("annotation", [None, "None"], ids=repr)
def test_result_of_none_is_checked(annotation: Any) -> None:
    """``-> None`` means None, whether or not the module has postponed annotations."""
    with pytest.raises(StepValueError, match="not of its annotated type"):
        round_trip(3, annotation)


def nested(depth: int, leaf: Any) -> Any:
    """Return lists in lists."""
    for _ in range(depth):
        leaf = [leaf]
    return leaf


@pytest.mark.parametrize("leaf", [1, None, math.nan], ids=repr)
@pytest.mark.parametrize("depth", [400, 700, 950, 100_000])
def test_deep_result_comes_back_or_is_refused(depth: int, leaf: Any) -> None:
    """However deep a value is, there is no error but the one that is never retried."""
    codec = result_codec(returning())
    try:
        data = codec.encode(nested(depth, leaf))
        # Python 3.14 has stack to encode some that it has none to decode.
        value = codec.decode(data)
    except StepValueError:
        return

    assert msgspec.json.encode(value) == data
    assert leaf is not math.nan


def test_deep_result_is_refused_where_there_is_no_stack_left_to_decode_it() -> None:
    """A replay that has less stack than the first pass had says so in the same way."""
    codec = result_codec(returning())
    data = b"[" * 100_000 + b"]" * 100_000

    with pytest.raises(StepValueError):
        codec.decode(data)


def test_recursive_result_is_refused() -> None:
    """A value that holds itself has no end."""
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(StepValueError, match="returned a list"):
        result_codec(returning()).encode(loop)


def test_big_result_comes_back() -> None:
    """The codec has no limit of its own."""
    value = {"rows": [{"n": n, "text": "x" * 100} for n in range(10_000)]}

    assert round_trip(value) == value


@pytest.mark.parametrize("annotation", ["Missing", "list[Missing]", "uuid.Missing", "1 +"])
def test_annotation_that_cannot_be_resolved_is_refused(annotation: str) -> None:
    """The error names the function and says what to do about it."""
    with pytest.raises(StepValueError, match=r"test_codec\.returning\..*cannot be resolved.*TYPE_CHECKING"):
        result_codec(returning(annotation))


def test_annotation_of_a_parameter_need_not_be_resolved() -> None:
    """Only the result is decoded, so a parameter's type may be imported for type checkers alone."""

    def book(client: Missing) -> Seat:  # type: ignore[name-defined]  # noqa: F821
        return Seat(1)

    codec = result_codec(book)

    assert codec.decode(codec.encode(Seat(1))) == Seat(1)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated when they are asked for since 3.14")
@pytest.mark.parametrize("missing", ["client", "return"])
def test_annotations_that_are_not_strings_need_not_be_resolved_either(missing: str) -> None:
    """Without ``from __future__ import annotations``, asking for one annotation evaluates all."""
    types = {"client": "int", "return": "Seat", missing: "Missing"}
    code = f"def book(client: {types['client']}) -> {types['return']}: ..."
    namespace: dict[str, Any] = {"Seat": Seat, "__name__": __name__}
    exec(compile(code, "a module", "exec", dont_inherit=True), namespace)

    if missing == "client":
        assert result_codec(namespace["book"]).decode(b'{"row":1}') == Seat(1)
    else:
        with pytest.raises(StepValueError, match=r"cannot be resolved.*TYPE_CHECKING"):
            result_codec(namespace["book"])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="functions have type parameters since 3.12")
@pytest.mark.parametrize("future", ["", "from __future__ import annotations"], ids=["evaluated", "postponed"])
def test_annotation_may_name_the_functions_type_parameters(future: str) -> None:
    """One that is bound to a type is decoded to that."""
    code = f"{future}\nasync def book[T, S: Seat](kind: type[T], seat: S) -> tuple[T, S]: ..."
    namespace: dict[str, Any] = {"Seat": Seat, "__name__": __name__}
    exec(compile(code, "a module", "exec", dont_inherit=True), namespace)

    assert result_codec(namespace["book"]).decode(b'[{"row":1},{"row":2}]') == ({"row": 1}, Seat(2))


@pytest.mark.parametrize("annotation", [Seat | Flight, dict[str, int] | Hold], ids=repr)
def test_annotation_without_json_form_is_refused(annotation: Any) -> None:
    """A type that no JSON can be decoded to is an error of the annotation, before the function is called."""
    with pytest.raises(StepValueError, match="has no JSON form"):
        result_codec(returning(annotation))


def test_annotation_with_metadata_that_has_no_hash_is_taken() -> None:
    """`Annotated` may carry anything."""
    assert round_trip(3, Annotated[int, {"unit": "EUR"}]) == 3


class Desk:
    """Step functions that are not plain functions."""

    def book(self, row: int) -> Seat:
        """Be a method."""
        return Seat(row)

    @classmethod
    async def abook(cls, row: int) -> Seat:
        """Be an asynchronous class method."""
        return Seat(row)

    @staticmethod
    def find(row: int) -> Seat:
        """Be a static method."""
        return Seat(row)

    def __call__(self, row: int) -> Seat:
        """Be a callable object."""
        return Seat(row)


@dataclass
class Booker:
    """A callable object whose fields are annotated."""

    row: int

    def __call__(self) -> Seat:
        """Book it."""
        return Seat(self.row)


@functools.lru_cache
def cached_book(row: int) -> Seat:
    """Be a wrapped function."""
    return Seat(row)


@functools.wraps(cached_book, assigned=("__module__", "__qualname__"))
def decorated_book(*args: Any) -> Any:
    """Be a wrapper that keeps its own annotations, as `wraps` lets it in Python 3.14."""
    return cached_book(*args)


@pytest.mark.parametrize(
    "function",
    [
        Desk().book,
        Desk.abook,
        Desk.find,
        Desk(),
        Booker(3),
        functools.partial(Desk().book, 3),
        functools.partial(functools.partial(Desk()), row=3),
        functools.partial(decorated_book, 3),
        cached_book,
        decorated_book,
    ],
    ids=[
        *("method", "class method", "static method", "object", "object with fields"),
        *("partial", "partial of partial", "partial of wrapper", "wrapped", "wrapper"),
    ],
)
def test_annotation_is_found_behind_every_kind_of_callable(function: Callable[..., Any]) -> None:
    """Methods, partials, callable objects and wrapped functions are typed like functions."""
    codec = result_codec(function)

    assert codec.decode(codec.encode(Seat(3))) == Seat(3)


def test_annotation_is_that_of_the_function_within_a_decorator() -> None:
    """Two modules may call different types by one name, and put one decorator round their functions."""

    def logged(function: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def wrapper() -> Any:
            raise NotImplementedError

        return wrapper

    seat = FunctionType((lambda: "a seat").__code__, {"Result": Seat})
    hold = FunctionType((lambda: "a hold").__code__, {"Result": Cabin})
    for function in (seat, hold):
        function.__annotations__["return"] = "Result"

    assert result_codec(logged(seat)).decode(b'{"row":3}') == Seat(3)
    assert result_codec(logged(hold)).decode(b'"first"') is Cabin.FIRST


def test_annotation_in_a_copy_of_a_module_means_the_copys_type() -> None:
    """Functions at the same place of two files have equal code, though a name in them is another type."""
    old = {"__name__": "orders_v1", "Order": Flight}
    new = {"__name__": "orders_v2", "Order": Seat}
    for module in (old, new):
        exec("def load() -> 'Order': ...", module)
    results = [result_codec(module["load"]) for module in (old, new)]  # type: ignore[arg-type]  # exec has put it there

    assert old["load"].__code__ == new["load"].__code__  # type: ignore[attr-defined]
    assert results[1].decode(results[1].encode(Seat(12))) == Seat(12)


def test_codecs_of_types_that_are_made_for_each_request_are_not_kept() -> None:
    """A handler may define a dataclass within, and a step function that returns it."""
    for number in range(MOST_CODECS + 10):
        codec = result_codec(returning(msgspec.defstruct(f"Made{number}", [("row", int)])))

    assert codec.decode(b'{"row":3}').row == 3
    assert len(_codecs) <= MOST_CODECS


@pytest.mark.parametrize("annotation", [NoReturn, Never, "NoReturn"], ids=repr)
def test_function_that_only_raises_may_say_so(annotation: Any) -> None:
    """It is called, and there is nothing to decode."""
    assert result_codec(returning(annotation)).encode(None) == b"null"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_annotation_may_name_type_parameters() -> None:
    """Those of a generic function are no globals; each is decoded to its bound, or to plain JSON types."""
    names: dict[str, Any] = {"Seat": Seat}
    # Older Pythons, which read this file too, do not know the syntax.
    exec("from __future__ import annotations\ndef pair[T: Seat](one: T) -> list[T]: ...", names)
    assert result_codec(names["pair"]).decode(b'[{"row":3}]') == [Seat(3)]


@pytest.mark.parametrize(
    "function",
    [lambda: 1, len, Seat, "text".upper, functools.partial(max, 1)],
    ids=["lambda", "builtin", "class", "method", "partial"],
)
def test_callable_without_annotation_returns_plain_json(function: Callable[..., Any]) -> None:
    """Lambdas, builtins and classes have none."""
    codec = result_codec(function)

    assert codec.decode(codec.encode((1, 2))) == [1, 2]


def test_qualified_name_tells_what_is_called_in_the_end() -> None:
    """Module and qualified name of the function behind partials and instances."""
    assert qualified_name(Desk.find) == f"{__name__}.Desk.find"
    assert qualified_name(Desk().book) == f"{__name__}.Desk.book"
    assert qualified_name(functools.partial(functools.partial(Desk.find, 1))) == f"{__name__}.Desk.find"
    assert qualified_name(Desk()) == f"{__name__}.Desk"
    assert qualified_name(len) == "builtins.len"


def test_fingerprint_of_equal_calls_is_equal() -> None:
    """Arguments are compared by value, in any order of keywords, dict keys and set members."""
    one = fingerprint(Desk.find, (1, {"a": 1, "b": 2}), {"who": {"x", "y", "z"}, "at": LEAVES})
    other = fingerprint(Desk.find, (1, {"b": 2, "a": 1}), {"at": LEAVES, "who": {"z", "y", "x"}})

    assert one == other
    assert one.startswith(f"{__name__}.Desk.find(")


def test_fingerprint_tells_calls_apart() -> None:
    """Another function, argument, keyword or partial is another call."""
    find, book = Desk.find, Desk().book
    calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
        (find, (), {}),
        (book, (), {}),
        (find, (1,), {}),
        (find, ("1",), {}),
        (find, (1, 2), {}),
        (find, ((1, 2),), {}),
        (find, (), {"row": 1}),
        (find, (), {"seat": 1}),
        (functools.partial(find, 1), (), {}),
        (functools.partial(find, row=1), (), {}),
        (functools.partial(functools.partial(find, 1), 2), (), {}),
        (find, (Seat(1),), {}),
        (find, (Model(id=1),), {}),
        (find, (Model(id=2),), {}),
    ]

    assert len({fingerprint(*call) for call in calls}) == len(calls)


def test_fingerprint_of_arguments_without_json_form_is_the_name() -> None:
    """A session or a client says nothing of a call that would be the same in another process."""
    assert fingerprint(Desk.find, (Plain(),), {}) == f"{__name__}.Desk.find"


def test_fingerprint_hints_at_what_has_a_json_form_beside_what_has_none() -> None:
    """The name identifies the call; two calls with the same session are told apart all the same."""
    one, other, again = (fingerprint(Desk.find, (row,), {"client": Plain()}) for row in (1, 2, 1))

    assert one == again != other
    assert one.startswith(f"{__name__}.Desk.find holding ")


def test_fingerprint_hints_at_what_a_closure_and_a_method_hold() -> None:
    """They stand for arguments."""

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("outside a request")

    def closure(who: Any, client: Any) -> Callable[..., Any]:
        async def call() -> Any:
            return who, client, unset

        if who == "never":
            unset = None
        return call

    hints = [fingerprint(closure(who, Refusing()), (), {}) for who in ("alice", "bob")]
    methods = [fingerprint(Flight(who, LEAVES, Decimal(1)).__repr__, (), {}) for who in ("alice", "bob")]

    assert fingerprint(closure(None, Refusing()), (), {}).endswith(".call")
    assert len({*hints, *methods}) == 4


def test_fingerprint_is_the_same_in_every_process() -> None:
    """It is compared with what another process recorded, so it is pinned here."""
    assert fingerprint(len, ("LX 14", 3), {"who": ["alice"]}) == "builtins.len(5bea01c82e568c8a)"
