"""Conditions of episodes as text, such as ``return > 100 and length < 500``, which are parsed and never executed.

Python's parser makes a tree of the text, and each node of it that is on a list becomes a closure of this module. All
other nodes are errors, and so are texts that are long or nested deeply, so that a text from anywhere is harmless.
"""

from __future__ import annotations

import ast
import difflib
import io
import math
import operator
import re
import tokenize
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari.errors import ArgumentError, ArgumentTypeError


__all__ = ["FLAGS", "FUNCTIONS", "NAMES", "Condition", "Lookup", "aggregate", "find", "unknown"]

#: The path of a value: a name, and the keys and positions inside of it.
Lookup: TypeAlias = tuple[str | int, ...]
#: The values of an episode: those of names by the names, those of fields by function and field.
Values: TypeAlias = Mapping[Any, Any]

#: The names with a meaning of their own; all others are keys of the metadata of an episode.
NAMES: Final = ("id", "length", "return", "seed", "terminated", "truncated", "metadata", "agents")
#: Those of them that are conditions by themselves.
FLAGS: Final = frozenset({"terminated", "truncated"})
#: The functions of all values of a field, or of a list.
FUNCTIONS: Final = ("min", "max", "mean", "std", "sum", "any", "all")

_LONGEST_TEXT = 2000  # characters
_MOST_TOKENS = 500
_MOST_LEVELS = 50
_MOST_BITS = 64  # of integers; larger results become floats
_LONGEST_QUOTE = 60  # characters
_BLOCK = 2**20  # values that are converted together
_LINE_BREAKS = re.compile(r"[\r\n\f\v]+")
#: Signs and words of other languages, and what conditions have for them.
_SPELLINGS: Final = {"=": "==", "=>": ">=", "=<": "<=", "&": "and", "|": "or", "!": "not", "and": "and", "or": "or"}
_CONSTANTS: Final = {"true": "True", "false": "False", "none": "None", "null": "None"}
_FIELDS: Final = ("observations", "actions", "rewards", "terminations", "truncations", "infos")
_RETURN = "the_return_of_the_episode"  # in the tree, where a name cannot be a keyword

_Kind: TypeAlias = Literal["bool", "other", "unknown"]
_Evaluate: TypeAlias = Callable[[Values], Any]


class _Problem(ArgumentError):
    """A part of a condition that has no value for an episode."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of an episode.

    Attributes:
        text: the text.
        names: the names in it, which it needs the values of: those of :data:`NAMES`, and keys of the metadata.
        lookups: the paths of the values that it looks up, such as ``("options", "goal", 0)``.
        fields: the functions of fields in it, such as ``("max", "actions")``.

    Example:
        >>> condition = Condition.parse("return > 100 and options.goal[0] >= 2")
        >>> sorted(condition.names)
        ['options', 'return']
        >>> condition({"return": 120.5, "options": {"goal": [2, 5]}}), condition({"return": 120.5})
        (True, False)
        >>> Condition.parse('mean("rewards") < 3')({("mean", "rewards"): 2.5})
        True
    """

    text: str
    names: frozenset[str]
    lookups: frozenset[Lookup]
    fields: frozenset[tuple[str, str]]
    _evaluate: _Evaluate

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return the condition that a text describes; nothing in it is executed.

        Raises:
            ArgumentTypeError: it is not a text.
            ArgumentError: it is not a condition; the message quotes the part.
        """
        if not isinstance(text, str):
            raise ArgumentTypeError(f"The condition is {shortened(text)}, expected a text such as 'length > 100'.")
        source, tree = _parsed(text)
        parser = _Parser(text, source)
        evaluate = parser.truth(tree.body, 0)
        names = frozenset(str(lookup[0]) for lookup in parser.lookups)
        return cls(text, names, frozenset(parser.lookups), frozenset(parser.fields), evaluate)

    def __call__(self, values: Values) -> bool:
        """Return whether the condition is true for an episode.

        Args:
            values: the values of :attr:`names` by the names, and those of :attr:`fields` by function and field. What is
                missing is None; each key of the metadata is a name, and ``"metadata"`` has all of
                them.

        Raises:
            ArgumentError: values are compared or computed with that do not go together.
        """
        try:
            return bool(self._evaluate(values))
        except _Problem as problem:
            raise ArgumentError(
                f"The condition {_quoted(self.text)} has no value for episode {values.get('id', 'unknown')}: {problem}."
            ) from None


def find(values: Values, lookup: Lookup) -> tuple[bool, Any]:
    """Return whether an episode has a value at a path, and the value.

    >>> find({"options": {"goal": [2, 5]}}, ("options", "goal", 1))
    (True, 5)
    >>> find({"metadata": {"state": {"x": 1}}}, ("metadata", "state/x")), find({}, ("task",))
    ((True, 1), (False, None))
    """
    value: Any = values
    for key in lookup:
        if isinstance(value, Mapping):
            keys = [key] if key in value or not isinstance(key, str) else key.split("/")
            for part in keys:
                if not isinstance(value, Mapping) or part not in value:
                    return False, None
                value = value[part]
        elif isinstance(key, int) and _is_list(value):
            if not -len(value) <= key < len(value):
                return False, None
            value = value[key]
        else:
            return False, None
    return True, _plain(value)


def unknown(condition: Condition, lookup: Lookup, known: Iterable[str]) -> ArgumentError:
    """Return the error for a value that no episode has.

    Args:
        condition: the condition.
        lookup: the path of the value.
        known: what there is instead.
    """
    name = "".join(f"[{key!r}]" if place else str(key) for place, key in enumerate(lookup))
    first = lookup[0]
    if str(first).lower() in _CONSTANTS:
        advice = f"write {_CONSTANTS[str(first).lower()]}"
    elif first in _FIELDS:
        advice = "fields are given in quotes and in a function, as in 'max(\"rewards\") > 0'"
    else:
        advice = _nearest(str(lookup[-1]), known)
        if len(lookup) == 1 and not difflib.get_close_matches(str(first), list(known), n=1, cutoff=0.5):
            advice += ", and text needs quotes"
    return ArgumentError(
        f"No episode has {_quoted(name)}, which the condition {_quoted(condition.text)} needs; {advice}."
    )


def _nearest(name: str, known: Iterable[str], kind: str = "name") -> str:
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:8]
    verb = f"the nearest {kind} is" if len(near) == 1 else f"the nearest {kind}s are"
    return f"{verb} {', '.join(map(_quoted, near))}" if near else f"there are no {kind}s at this place"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")


def _shown(value: Any) -> str:
    return " ".join(shortened(value).split())


# Parsing


def _parsed(text: str) -> tuple[str, ast.Expression]:
    """Return the tree of a text, and the text that it was made of, in which ``return`` has another name.

    Raises:
        ArgumentError: it is too long, nested too deeply, or no expression.
    """
    if len(text) > _LONGEST_TEXT:
        raise ArgumentError(
            f"The condition {_quoted(text)} has {len(text)} characters, expected at most {_LONGEST_TEXT}; shorten it."
        )
    problem = "it is not an expression"
    try:
        source = _with_return_as_name(_LINE_BREAKS.sub(" ", text).strip())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes and numbers that are followed by letters
            return source, ast.parse(source, mode="eval")
    except (tokenize.TokenError, IndentationError):
        pass
    except SyntaxError as error:
        at = (error.text or "")[max(0, (error.offset or 1) - 1) :].strip().replace(_RETURN, "return")
        what = error.msg.replace(_RETURN, "return").partition(". ")[0]  # without what Python has in such a place
        problem += f", {what}{f' at {_quoted(at)}' if at else ''}{_spelled(at)}"
    except (RecursionError, MemoryError):
        problem = "it is nested too deeply"
    except ValueError:  # NUL characters, halves of surrogate pairs
        problem = "it has characters that cannot stand in an expression"
    raise ArgumentError(
        f"The condition {_quoted(text)} cannot be understood: {problem}; expected an expression such as "
        f"'return > 100 and length < 500'."
    )


def _spelled(at: str) -> str:
    """Return how conditions spell the sign or word of another language that a text begins with; empty for others."""
    sign = re.match(r"=[<>]?|[&|!]|\w+", at)
    meant = _SPELLINGS.get(sign[0].lower()) if sign else None
    if meant is None and re.search(r"(?<![=<>!])=(?!=)", at):
        meant = "=="
    return f", where a condition has {meant!r}" if meant else ""


def _with_return_as_name(text: str) -> str:
    """Return the text, of one line, with another name for ``return``, which is a keyword of Python."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    if len(tokens) > _MOST_TOKENS:
        raise SyntaxError(f"it has more than {_MOST_TOKENS} words and signs")
    places = [token.start[1] for token in tokens if token.type == tokenize.NAME and token.string == "return"]
    for place in reversed(places):
        text = f"{text[:place]}{_RETURN}{text[place + len('return') :]}"
    return text


class _Parser:
    """Makes closures of the nodes of a tree, and collects what they look up.

    Args:
        text: the condition, for messages.
        source: the text that the tree was made of.
    """

    def __init__(self, text: str, source: str) -> None:
        self._text, self._source = text, source
        self.lookups: set[Lookup] = set()
        self.fields: set[tuple[str, str]] = set()

    def truth(self, node: ast.expr, level: int) -> _Evaluate:
        """Return a closure whose value is a bool; what an episode lacks is false."""
        evaluate, kind = self._value(node, level)
        part = self._quote(node)
        if kind == "bool":
            return evaluate
        if kind == "other":
            self._refuse(node, "is not a condition; compare it with something, as in 'length > 100'")

        def truth(values: Values) -> bool:
            value = evaluate(values)
            if value is None or isinstance(value, bool):
                return bool(value)
            raise _Problem(f"{part} is {_shown(value)}, which is not a condition, so compare it with something")

        return truth

    def _value(self, node: ast.expr, level: int) -> tuple[_Evaluate, _Kind]:
        """Return a closure for a node, and the kind of its value as far as it is known."""
        if level > _MOST_LEVELS:
            self._refuse(node, "is nested too deeply")
        match node:
            case ast.BoolOp():
                return self._junction(node, level), "bool"
            case ast.UnaryOp(op=ast.Not()):
                inner = self.truth(node.operand, level + 1)
                return lambda values: not inner(values), "bool"
            case ast.Compare():
                return self._comparison(node, level), "bool"
            case ast.UnaryOp() | ast.BinOp():
                return self._arithmetic(node, level), "other"
            case ast.Call():
                return self._call(node, level)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._lookup(node)
            case ast.Constant() | ast.List() | ast.Tuple() | ast.Set():
                constant = self._constant(node)
                return lambda values: constant, "bool" if isinstance(constant, bool) else "other"
            case _:
                self._refuse(node, "is not part of the language of conditions")

    def _junction(self, node: ast.BoolOp, level: int) -> _Evaluate:
        parts = [self.truth(part, level + 1) for part in node.values]
        if isinstance(node.op, ast.And):
            return lambda values: all(part(values) for part in parts)
        return lambda values: any(part(values) for part in parts)

    def _comparison(self, node: ast.Compare, level: int) -> _Evaluate:
        operands = [node.left, *node.comparators]
        evaluate = [self._value(operand, level + 1)[0] for operand in operands]
        compare = []
        for operation, pair in zip(node.ops, pairwise(operands), strict=True):
            if isinstance(operation, (ast.Is, ast.IsNot)) and not any(map(_is_none, pair)):
                self._refuse(node, "compares with 'is', which is only for None; use ==")
            compare.append(_COMPARISONS[type(operation)])
        part = self._quote(node)

        def comparison(values: Values) -> bool:
            left = evaluate[0](values)
            for operation, following in zip(compare, evaluate[1:], strict=True):
                right = following(values)
                try:
                    if not operation(left, right):
                        return False
                except TypeError:
                    raise _Problem(
                        f"{part} compares {_shown(left)} with {_shown(right)}, which are of different kinds"
                    ) from None
                left = right
            return True

        return comparison

    def _arithmetic(self, node: ast.UnaryOp | ast.BinOp, level: int) -> _Evaluate:
        compute = _OPERATIONS.get(type(node.op))
        if compute is None:
            self._refuse(
                node,
                "has an operator that conditions do not have; there are + - * / // and %, "
                "and between conditions 'and', 'or' and 'not'",
            )
        operands = [node.operand] if isinstance(node, ast.UnaryOp) else [node.left, node.right]
        return self._computed(node, compute, [self._value(operand, level + 1)[0] for operand in operands])

    def _computed(self, node: ast.expr, compute: Callable[..., Any], evaluate: Sequence[_Evaluate]) -> _Evaluate:
        """Return a closure that computes with numbers; its value is None if one of them is."""
        part = self._quote(node)

        def computed(values: Values) -> Any:
            numbers = [operand(values) for operand in evaluate]
            if any(number is None for number in numbers):
                return None
            for number in numbers:
                if not isinstance(number, (int, float)):
                    raise _Problem(f"{part} computes with {_shown(number)}, which is no number")
            return _bounded(compute(*map(_bounded, numbers)))

        return computed

    def _call(self, node: ast.Call, level: int) -> tuple[_Evaluate, _Kind]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in (*FUNCTIONS, "abs"):
            near = _nearest(name, ("abs", *FUNCTIONS), "function")
            self._refuse(node, f"calls a function that conditions do not have; {near}")
        if node.keywords or not node.args or any(isinstance(argument, ast.Starred) for argument in node.args):
            self._refuse(node, f"calls {name} in another way than {name}(...) with one value")
        if len(node.args) > 1 and name not in ("min", "max"):
            self._refuse(node, f"gives {name} {len(node.args)} values, expected one")
        kind: _Kind = "bool" if name in ("any", "all") else "other"
        first = node.args[0]
        if name != "abs" and len(node.args) == 1 and isinstance(first, ast.Constant) and isinstance(first.value, str):
            key = name, first.value
            self.fields.add(key)
            return lambda values: values.get(key), kind
        evaluate = [self._value(argument, level + 1)[0] for argument in node.args]
        if name == "abs":
            return self._computed(node, abs, evaluate), kind
        if len(evaluate) > 1:
            return self._computed(node, _least if name == "min" else _greatest, evaluate), kind
        return self._of_list(node, name, evaluate[0]), kind

    def _of_list(self, node: ast.expr, name: str, evaluate: _Evaluate) -> _Evaluate:
        part = self._quote(node)

        def of_list(values: Values) -> Any:
            value = evaluate(values)
            if value is None:
                return None
            array = _array(value)
            if array is None:
                raise _Problem(f"{part} is of {_shown(value)}, which is no list of numbers, and no name of a field")
            return aggregate(name, [array])

        return of_list

    def _lookup(self, node: ast.expr) -> tuple[_Evaluate, _Kind]:
        lookup = self._path(node)
        self.lookups.add(lookup)
        kind: _Kind = "unknown"
        if lookup[0] in FLAGS:
            kind = "bool" if len(lookup) == 1 else "unknown"
        elif lookup[0] in NAMES and lookup[0] not in ("metadata", "agents"):
            kind = "other"
        if kind == "bool":
            return lambda values: bool(find(values, lookup)[1]), kind
        return lambda values: find(values, lookup)[1], kind

    def _path(self, node: ast.expr) -> Lookup:
        """Return the path that names, attributes and subscripts describe."""
        keys: list[str | int] = []
        inner = node
        while not isinstance(inner, ast.Name):
            if len(keys) > _MOST_LEVELS:
                self._refuse(node, "is nested too deeply")
            if isinstance(inner, ast.Attribute):
                keys.append(_name(inner.attr))
            elif isinstance(inner, ast.Subscript):
                key: Any = self._constant(inner.slice) if _is_constant(inner.slice) else None
                if type(key) not in (str, int):
                    self._refuse(inner, "has another index than a number or a text in quotes")
                keys.append(key)
            else:
                self._refuse(node, "takes a part of something that is no name")
            inner = inner.value
        return (_name(inner.id), *reversed(keys))

    def _constant(self, node: ast.expr) -> Any:
        """Return a number, text, bool or None, or a list of these."""
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            if not all(map(_is_constant, node.elts)):
                self._refuse(node, "is a list of something else than constants")
            return [self._constant(element) for element in node.elts]
        if isinstance(node, ast.UnaryOp):
            number = self._constant(node.operand)
            return -number if isinstance(node.op, ast.USub) else number
        value = node.value if isinstance(node, ast.Constant) else ...
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            self._refuse(node, f"has more than {_MOST_BITS} bits; write it with an exponent, as 1e20")
        if value is not None and not isinstance(value, (str, bool, int, float)):
            self._refuse(node, "is no number, text, True, False or None")
        return value

    def _quote(self, node: ast.expr) -> str:
        """Return a part of the text, for messages."""
        part = ast.get_source_segment(self._source, node) or self._source
        return _quoted(part.replace(_RETURN, "return"))

    def _refuse(self, node: ast.expr, problem: str) -> NoReturn:
        part = self._quote(node)
        whole = "" if part == _quoted(self._text) else f" in the condition {_quoted(self._text)}"
        raise ArgumentError(f"{part}{whole} {problem}.")


def _name(name: str) -> str:
    return "return" if name == _RETURN else name


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_constant(node: ast.expr) -> bool:
    """Return whether a node is a constant, or a number with a sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        node = node.operand
        return isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return isinstance(node, ast.Constant)


# Values


def _plain(value: Any) -> Any:
    """Return scalars of NumPy as those of Python."""
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        kind = value.dtype.kind
        if kind in "biufU":
            return {"b": bool, "i": int, "u": int, "f": float, "U": str}[kind](value)
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _array(value: Any) -> npt.NDArray[Any] | None:
    """Return a list of numbers as an array; None for anything else."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):  # lists of different lengths
        return None
    return array if array.dtype.kind in "biuf" or not array.size else None


def _kind_of(value: Any) -> type:
    if isinstance(value, (int, float)):
        return float
    if isinstance(value, (list, tuple, np.ndarray)):
        return list
    return dict if isinstance(value, Mapping) else type(value)


def _equal(left: Any, right: Any) -> bool:
    """Return whether values are equal; None differs from all others.

    Raises:
        TypeError: they are of different kinds.
    """
    if left is None or right is None:
        return left is right
    if _kind_of(left) is not _kind_of(right):
        raise TypeError
    return _same(left, right)


def _same(left: Any, right: Any) -> bool:
    """Return whether values are of the same kind and equal; NaN is equal to nothing."""
    left, right = _plain(left), _plain(right)
    kind = _kind_of(left)
    if kind is not _kind_of(right):
        return False
    if kind is list:
        return len(left) == len(right) and all(map(_same, left, right))
    if kind is dict:
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    try:
        return bool(left == right)
    except (TypeError, ValueError):  # of structured values
        return False


def _is_in(value: Any, container: Any) -> bool:
    if container is None:
        return False
    if isinstance(container, str):
        if value is None:
            return False
        if not isinstance(value, str):
            raise TypeError
        return value in container
    if isinstance(container, Mapping):
        return isinstance(value, str) and value in container
    if _kind_of(container) is not list:
        raise TypeError
    return any(_same(value, element) for element in container)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Return a comparison of two numbers or two texts, which is false for None."""

    def ordered(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        kind = _kind_of(left)
        if kind is not _kind_of(right) or kind not in (float, str):
            raise TypeError
        return compare(left, right)

    return ordered


_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: _equal,
    ast.NotEq: lambda left, right: not _equal(left, right),
    ast.Is: _equal,
    ast.IsNot: lambda left, right: not _equal(left, right),
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _is_in,
    ast.NotIn: lambda value, container: not _is_in(value, container),
}


def _bounded(number: Any) -> Any:
    """Return an integer of many bits as a float, so that no result grows without end."""
    if not isinstance(number, int) or number.bit_length() <= _MOST_BITS:
        return number
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _divide(left: float, right: float) -> float:
    """Divide as IEEE 754 does."""
    if right:
        return left / right
    return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


def _floor_divide(left: float, right: float) -> float:
    return left // right if right else _divide(left, right)


def _remainder(left: float, right: float) -> float:
    return left % right if right else math.nan


def _least(*numbers: float) -> float:
    return math.nan if any(map(math.isnan, numbers)) else min(numbers)


def _greatest(*numbers: float) -> float:
    return math.nan if any(map(math.isnan, numbers)) else max(numbers)


_OPERATIONS: Final[Mapping[type[ast.AST], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.FloorDiv: _floor_divide,
    ast.Mod: _remainder,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def aggregate(name: str, columns: Sequence[npt.NDArray[Any]]) -> float | bool | None:
    """Return one of :data:`FUNCTIONS` of all numbers of arrays together; None if it has no value for none of them.

    >>> aggregate("mean", [np.array([[1, 2], [3, 4]]), np.array([10.0])])
    4.0
    >>> aggregate("max", []), aggregate("sum", []), aggregate("all", [])
    (None, 0.0, True)
    """
    if name in ("any", "all"):
        decide = any if name == "any" else all
        return decide(bool(getattr(column, name)()) for column in columns)
    columns = [column for column in columns if column.size]
    if not columns:
        return 0.0 if name == "sum" else None
    with np.errstate(all="ignore"):
        if name in ("min", "max"):
            reduce = np.minimum if name == "min" else np.maximum
            return float(reduce.reduce([np.float64(getattr(column, name)()) for column in columns]))
        total = float(sum(column.sum(dtype=np.float64) for column in columns))
        if name == "sum":
            return total
        count = sum(column.size for column in columns)
        mean = total / count
        return mean if name == "mean" else math.sqrt(sum(_squares(column, mean) for column in columns) / count)


def _squares(column: npt.NDArray[Any], mean: float) -> float:
    """Return the sum of the squared differences from a number."""
    flat = column.reshape(-1)
    blocks = (flat[start : start + _BLOCK].astype(np.float64) - mean for start in range(0, len(flat), _BLOCK))
    return float(sum(np.square(block).sum() for block in blocks))
