"""
What is left of a CEL expression when the run's own event is known. Pure.

The parts that ask only for the own event are evaluated, by cel-python, which unlike cel-expr-python tells an
expression's syntax tree; the rest is written down again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lark import Token, Tree

from ...errors import EventError
from .literals import before_point, literal, selected

Node = Tree[Token]

_OWN, _INCOMING = "event", "async"
# Never true: every event has a name.
_NEVER = 'async.name == ""'
_MACROS = frozenset(("all", "exists", "exists_one", "filter", "map"))
_OPERATORS = {
    "relation_lt": "<",
    "relation_le": "<=",
    "relation_gt": ">",
    "relation_ge": ">=",
    "relation_eq": "==",
    "relation_ne": "!=",
    "relation_in": "in",
    "addition_add": "+",
    "addition_sub": "-",
    "multiplication_mul": "*",
    "multiplication_div": "/",
    "multiplication_mod": "%",
    "unary_not": "!",
    "unary_neg": "-",
}
_NO_CONSTANT = object()


def residue_of(expression: str, event: dict[str, Any]) -> str:
    """
    Return *expression* without ``event``, which is the run's own; empty if it holds for every incoming event.

    Raises:
        EventError: The own event lacks what the expression asks for, or the expression has no such form.
    """
    from celpy import Environment
    from celpy.adapter import json_to_cel

    environment = Environment()
    tree = environment.compile(expression)
    writer = _Writer(expression, environment, {_OWN: json_to_cel(event)}, sorted(event.get("data", {})))
    value = writer.constant(tree, frozenset())
    if value is _NO_CONSTANT:
        text = writer.written(tree, frozenset())
        return "" if text == "true" else _NEVER if text == "false" else text
    if not isinstance(value, bool):
        raise EventError(f"if_exp={expression!r} is neither true nor false, but {value!r}")
    return "" if value else _NEVER


class _Writer:
    """
    Writes the nodes of one expression.

    *bound* are the names of variables of the macros around a node.
    """

    def __init__(self, expression: str, environment: Any, own: dict[str, Any], fields: list[str]) -> None:
        self._expression = expression
        self._environment = environment
        self._own = own
        self._fields = fields
        # By the rule of cel-python's grammar, and how many parts it has found.
        self._writers: dict[tuple[str, int], Callable[[Node, frozenset[str]], str]] = {
            ("expr", 3): self._choice,
            ("conditionalor", 2): self._logic,
            ("conditionaland", 2): self._logic,
            ("relation", 2): self._operation,
            ("addition", 2): self._operation,
            ("multiplication", 2): self._operation,
            ("unary", 2): self._signed,
            ("member_dot", 2): self._selected,
            ("member_index", 2): self._indexed,
            ("member_dot_arg", 2): self._method,
            ("member_dot_arg", 3): self._method,
            ("ident_arg", 1): self._function,
            ("ident_arg", 2): self._function,
            ("ident", 1): lambda node, bound: str(node.children[0]),
            ("literal", 1): lambda node, bound: self._number(node),
            ("paren_expr", 1): self._in_brackets,
            ("list_lit", 1): self._listed,
            ("map_lit", 1): self._mapped,
        }

    def constant(self, node: Node, bound: frozenset[str]) -> Any:
        """Return the JSON value of a node that depends on nothing unknown, or `_NO_CONSTANT`."""
        if _names(node) & (bound | {_INCOMING}):
            return _NO_CONSTANT
        from celpy.evaluation import CELEvalError

        try:
            value = self._environment.program(node).evaluate(self._own)
        except CELEvalError as error:
            known = ", ".join(self._fields) or "nothing"
            raise self._refused(
                f"a part of it fails for the run's own event, whose data holds {known}: {error.args[0]}"
            ) from error
        return _json_value(value)

    def written(self, node: Node, bound: frozenset[str]) -> str:
        """Return a node as text; every part that is known as a literal."""
        write = self._writers.get((node.data, len(node.children)))
        if write is not None:
            return write(node, bound)
        if len(node.children) == 1 and isinstance(node.children[0], Tree):
            return self.written(node.children[0], bound)
        raise self._refused(f"it has no form for the Inngest server, because of a {node.data}")

    def _part(self, node: Node, bound: frozenset[str], plain: bool = False) -> str:
        """Return a node as text. A literal is *plain* where the server checks no types; otherwise it is told not to."""
        value = self.constant(node, bound)
        if value is _NO_CONSTANT:
            return self.written(node, bound)
        text = literal(value)
        return text if plain or _OWN not in _names(node) else f"dyn({text})"

    def _choice(self, node: Node, bound: frozenset[str]) -> str:
        condition, then, other = _trees(node)
        known = self._condition(condition, bound)
        if known in ("true", "false"):
            return self._part(then if known == "true" else other, bound, plain=True)
        return f"{known} ? {self._part(then, bound)} : {self._part(other, bound)}"

    def _logic(self, node: Node, bound: frozenset[str]) -> str:
        decisive, sign = ("true", "||") if node.data == "conditionalor" else ("false", "&&")
        sides = _trees(node)
        # What is known first: it may make the other side, which could fail, irrelevant.
        for side in sides:
            if not _names(side) & (bound | {_INCOMING}) and self._condition(side, bound) == decisive:
                return decisive
        texts = [self._condition(side, bound) for side in sides]
        if decisive in texts:
            return decisive
        left = [text for text in texts if text not in ("true", "false")]
        return f" {sign} ".join(left) if left else texts[0]

    def _condition(self, node: Node, bound: frozenset[str]) -> str:
        value = self.constant(node, bound)
        if value is _NO_CONSTANT:
            return self.written(node, bound)
        if not isinstance(value, bool):
            raise self._refused(f"{value!r} stands where it needs true or false")
        return "true" if value else "false"

    def _operation(self, node: Node, bound: frozenset[str]) -> str:
        first, right = _trees(node)
        sign, left = _OPERATORS[first.data], _tree(first.children[0])
        plain = node.data == "relation"
        if plain and sign not in ("==", "!="):
            self._check_order(sign, [self.constant(side, bound) for side in (left, right)])
        return f"{self._part(left, bound, plain)} {sign} {self._part(right, bound, plain)}"

    def _check_order(self, sign: str, values: list[Any]) -> None:
        known = [value for value in (values[1:] if sign == "in" else values) if value is not _NO_CONSTANT]
        wanted: tuple[type, ...] = (list, dict) if sign == "in" else (int, float, str)
        for value in known:
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise self._refused(f"{value!r} cannot stand beside {sign!r}")

    def _signed(self, node: Node, bound: frozenset[str]) -> str:
        operator, operand = _trees(node)
        text = self._part(operand, bound)
        if operator.data == "unary_not" and text in ("true", "false"):
            return "false" if text == "true" else "true"
        return f"{_OPERATORS[operator.data]}{text}"

    def _selected(self, node: Node, bound: frozenset[str]) -> str:
        receiver, field = node.children
        return selected(self._part(_tree(receiver), bound), str(field))

    def _indexed(self, node: Node, bound: frozenset[str]) -> str:
        receiver, index = _trees(node)
        return f"{self._part(receiver, bound)}[{self._part(index, bound, plain=True)}]"

    def _method(self, node: Node, bound: frozenset[str]) -> str:
        receiver, name, *arguments = node.children
        return f"{before_point(self._part(_tree(receiver), bound))}.{self._called(str(name), arguments, bound)}"

    def _function(self, node: Node, bound: frozenset[str]) -> str:
        name, *arguments = node.children
        return self._called(str(name), arguments, bound)

    def _called(self, name: str, rest: list[Any], bound: frozenset[str]) -> str:
        arguments = _trees(_tree(rest[0])) if rest else []
        if name in _MACROS and len(arguments) > 1:
            bound |= _names(arguments[0])
        return f"{name}({', '.join(self._part(argument, bound) for argument in arguments)})"

    def _number(self, node: Node) -> str:
        token = node.children[0]
        if isinstance(token, Token) and token.type == "UINT_LIT":
            return str(token)
        raise self._refused(f"it takes no literal such as {token!s}")

    def _in_brackets(self, node: Node, bound: frozenset[str]) -> str:
        inner = self.written(_tree(node.children[0]), bound)
        return inner if inner in ("true", "false") else f"({inner})"

    def _listed(self, node: Node, bound: frozenset[str]) -> str:
        return "[" + ", ".join(self._part(item, bound, plain=True) for item in _trees(_tree(node.children[0]))) + "]"

    def _mapped(self, node: Node, bound: frozenset[str]) -> str:
        items = [self._part(item, bound, plain=True) for item in _trees(_tree(node.children[0]))]
        return "{" + ", ".join(f"{key}: {value}" for key, value in zip(items[::2], items[1::2], strict=True)) + "}"

    def _refused(self, why: str) -> EventError:
        return EventError(f"if_exp={self._expression!r} cannot be told to the Inngest server: {why}")


def _names(node: Node) -> frozenset[str]:
    """Return the names that a node asks for, except the variables of macros inside it."""
    if node.data == "ident":
        return frozenset((str(node.children[0]),))
    found = frozenset(name for child in node.children if isinstance(child, Tree) for name in _names(child))
    if node.data != "member_dot_arg" or len(node.children) < 3 or str(node.children[1]) not in _MACROS:
        return found
    receiver, _, arguments = node.children
    variable, *others = map(_names, _trees(_tree(arguments)))
    return _names(_tree(receiver)) | (frozenset().union(*others) - variable if others else variable)


def _tree(node: Any) -> Node:
    assert isinstance(node, Tree)
    return node


def _trees(node: Node) -> list[Node]:
    return [child for child in node.children if isinstance(child, Tree)]


def _json_value(value: Any) -> Any:
    """Return a value of cel-python as JSON has it; `_NO_CONSTANT` for a time, a duration or bytes."""
    from celpy import celtypes

    if value is None:
        return None
    if isinstance(value, celtypes.BoolType):
        return bool(value)
    if isinstance(value, celtypes.IntType):
        return int(value)
    if isinstance(value, celtypes.DoubleType):
        return float(value)
    if isinstance(value, celtypes.StringType):
        return str(value)
    if isinstance(value, celtypes.ListType):
        items = [_json_value(item) for item in value]
        return _NO_CONSTANT if _NO_CONSTANT in items else items
    if isinstance(value, celtypes.MapType):
        pairs = {_json_value(key): _json_value(inner) for key, inner in value.items()}
        return _NO_CONSTANT if _NO_CONSTANT in (*pairs, *pairs.values()) else pairs
    return _NO_CONSTANT
