"""Conditions as text: what they mean, by a slow model, and that no text does anything but raise ArgumentError."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minari.dataset.condition import FUNCTIONS, NAMES, Condition, aggregate
from minari.errors import ArgumentError, ArgumentTypeError


METADATA = {
    "task": "pick",
    "score": 0.75,
    "state": {"position": [0.5, 2.0], "lab": {"room": 7}},
    "options": {"goal": np.array([3, 4]), "tags": ["a", "b"]},
    "success": np.bool_(True),
    "note": None,
    "big": 2**70,
    "matrix": np.eye(3),
    "lost": math.nan,
    "day": np.datetime64("2026-01-01"),
    "parts": [[], [1, [2]]],
}
VALUES: dict[Any, Any] = {
    **METADATA,
    "metadata": METADATA,
    "id": 3,
    "length": 20,
    "seed": 7,
    "return": 120.5,
    "terminated": True,
    "truncated": False,
    "agents": {"adversary_0": {"return": 2.0}, 3: {"return": -1.0}},
    ("mean", "observations/velocity"): 2.5,
    ("max", "actions"): None,
    ("any", "infos/success"): False,
}

TRUE = [
    "return > 100 and length < 500",
    'task == "pick" and not truncated',
    "seed in [1, 7, 3]",
    "seed not in (1, 2)",
    "seed in {7}",
    '0.5 <= metadata["score"] < 1',
    'metadata["state/position"][1] == 2',
    "metadata.state.lab.room == 7",
    "state.lab.room == state['lab/room']",
    "options.goal[0] > 2",
    "options.goal[-1] == 4",
    "options.goal == [3, 4]",
    "options.goal != [3, 5]",
    "state.position != [0.5]",
    "max(options.goal) == 4 and min(options.goal) == 3 and mean(options.goal) == 3.5 and sum(options.goal) == 7",
    "std(options.goal) == 0.5",
    '"a" in options.tags',
    '"goal" in options',
    '"ic" in task',
    '"x" not in task',
    'mean("observations/velocity") < 3',
    'not (max("actions") <= 1)',
    'max("actions") is None',
    'not any("infos/success")',
    "abs(return - 120) < 1",
    'agents["adversary_0"].return > 0',
    "agents[3].return < 0",
    "id % 2 == 1",
    "length // 3 == 6",
    "-length < +3",
    "success",
    "success == True",
    "success and success == 1",
    "not note",
    "not absent",
    "absent == None",
    "absent is None and note is None and task is not None",
    "absent != 3",
    "absent + 1 == None",
    "abs(absent) is None and max(absent) is None and max(absent, 3) is None",
    "absent not in [1, 2]",
    "3 not in absent",
    "None in [None]",
    "not (absent < 3) and not (absent >= 3)",
    "options.goal[7] is None",
    "matrix[1][1] == 1 and matrix[1] == [0, 1, 0] and sum(matrix) == 3",
    "day == day and day not in [3]",
    "task.length is None",
    "max(length, 30, 5) == 30 and min(length, 30) == 20",
    "length / 0 > 1e300",
    "length % 0 != length % 0",
    "length / (0 * -1.0) < 0 < length / (0 * 1.0)",
    "min(1, lost) != min(1, lost) and max(lost, 1) != max(lost, 1)",
    "lost != lost and not lost == lost and lost not in [1] and not lost < 1 and not lost >= 1",
    "big > 1e20",
    "big * 0 == 0",
    "big * big * big > 1e60",
    "1 < 2 < 3 <= 3",
    "not 1 < 3 < 2",
    "length > 100 or\n    return > 100  # of both",
    "'return' != task",
    "0x14 == length == 2_0 == 2e1",
    "True",
    "parts[0] == [] and parts[1][1][0] == 2 and parts[2] is None",
    "(((length)) > (1))",
]


@pytest.mark.parametrize("text", TRUE)
def test_meaning(text: str) -> None:
    assert Condition.parse(text)(VALUES) is True
    assert Condition.parse(f"not ({text})" if "#" not in text else "False")(VALUES) is False


def test_names_lookups_and_fields() -> None:
    condition = Condition.parse(
        'return[0] > metadata["a/b"].c or task in ["return"] or max("actions") > mean("rewards")'
    )
    assert condition.names == {"return", "metadata", "task"}
    assert condition.lookups == {("return", 0), ("metadata", "a/b", "c"), ("task",)}
    assert condition.fields == {("max", "actions"), ("mean", "rewards")}


REFUSED = {
    "": "cannot be understood",
    "length": "'length' is not a condition; compare it",
    "return": "'return' is not a condition; compare it",
    "length > 3 and return": "'return' in the condition 'length > 3 and return' is not a condition",
    "not length": "'length' in the condition 'not length' is not a condition",
    "length + 1": "'length + 1' is not a condition",
    "'pick'": "is not a condition",
    "None": "is not a condition",
    "[1]": "is not a condition",
    "length >": "cannot be understood",
    "a b": "at 'b'",
    "length = 3": "at '= 3', where a condition has '=='",
    "not (length = 3)": "where a condition has '=='",
    "length => 3": "where a condition has '>='",
    "length =< 3": "where a condition has '<='",
    "length > 3 && id > 1": "where a condition has 'and'",
    "length > 3 || id > 1": "where a condition has 'or'",
    "length > 3 AND id > 1": "where a condition has 'and'",
    "length > 3 & id > 1": "between conditions 'and', 'or' and 'not'",
    "length == 3; id": "cannot be understood",
    "(" * 300: "cannot be understood",
    "-" * 300 + "1 > 0": "nested too deeply",
    "not " * 100 + "True": "nested too deeply",
    "a" + ".b" * 100 + " > 1": "nested too deeply",
    "+".join(["1"] * 100) + " > 0": "nested too deeply",
    "1," * 1000: "more than 500 words and signs",
    "x" * 3000 + " > 1": "3004 characters, expected at most 2000",
    "9" * 1000 + " > 1": "more than 64 bits",
    "'x' * 3 == 'xxx'": "which is no number",
    "2 ** 3 == 8": "an operator that conditions do not have",
    "1 << 3 == 8": "an operator that conditions do not have",
    "~1 == 8": "an operator that conditions do not have",
    "__import__('os').system('true') == 0": "calls a function that conditions do not have",
    "maen('rewards') > 0": "the nearest functions are 'mean', 'min'",
    "mean() > 0": "with one value",
    "mean(field='rewards') > 0": "with one value",
    "min(*options) > 0": "with one value",
    "mean(1, 2) > 0": "2 values, expected one",
    "abs('rewards') > 0": "which is no number",
    "mean(length) > 0": "no list of numbers",
    "mean(options.tags) > 0": "no list of numbers",
    "options[length] > 0": "another index than a number or a text in quotes",
    "options[0:1] == 3": "another index than a number or a text in quotes",
    "options[True] == 3": "another index than a number or a text in quotes",
    "[1, 2][0] == 1": "of something that is no name",
    "(a or b).c": "of something that is no name",
    "seed in [length]": "something else than constants",
    "seed is 7": "only for None; use ==",
    "lambda: True": "not part of the language",
    "[x for x in options]": "not part of the language",
    "(x := 3) > 2": "not part of the language",
    "1 if success else 0": "not part of the language",
    "f'{length}' == '20'": "",
    "b'x' == task": "is no number, text, True, False or None",
    "1j == 1": "is no number, text, True, False or None",
    "... == 1": "is no number, text, True, False or None",
    "task > 3": "'task > 3' compares 'pick' with 3, which are of different kinds",
    "task == 3": "for episode 3",
    "3 in task": "different kinds",
    "3 in length": "different kinds",
    "options < options": "different kinds",
    "options.goal > 2": "different kinds",
    "matrix > 2": "different kinds",
    "day > 2": "different kinds",
    "return = 3": "cannot be understood",
    "task + 'x' == 'pickx'": "computes with 'pick', which is no number",
    "options.goal": "which is not a condition",
    "score": "'score' is 0.75, which is not a condition",
    "length\0 > 3": "",
    "length > '\ud800": "",
    "  length > 3\n 4": "cannot be understood",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals_quote_the_part(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ArgumentError) as caught:
        Condition.parse(text)(VALUES)
    message = str(caught.value)
    assert REFUSED[text] in message
    assert len(message) < 500
    assert "\n" not in message
    assert "the_return" not in message
    assert message.endswith(".")
    assert time.perf_counter() - start < 1


def test_only_text_is_parsed() -> None:
    with pytest.raises(ArgumentTypeError, match="expected a text"):
        Condition.parse(b"length > 3")  # type: ignore[arg-type]


# A slow model: each drawn expression is a text and a function that says what it means.

Drawn = tuple[str, Callable[[Mapping[str, Any]], Any]]
NUMBERS = ["a", "b", "c", "length", "return"]


def number_of(value: Any) -> np.float64:
    return np.float64(value)


def binary(symbol: str, left: Drawn, right: Drawn) -> Drawn:
    def model(values: Mapping[str, Any]) -> Any:
        one, other = left[1](values), right[1](values)
        if one is None or other is None:
            return None
        one, other = number_of(one), number_of(other)
        with np.errstate(all="ignore"):
            return {
                "+": lambda: one + other,
                "-": lambda: one - other,
                "*": lambda: one * other,
                "/": lambda: one / other,
                "//": lambda: np.floor_divide(one, other),
                "%": lambda: np.remainder(one, other),
                "min": lambda: np.minimum(one, other),
                "max": lambda: np.maximum(one, other),
            }[symbol]()

    text = f"{symbol}({left[0]}, {right[0]})" if symbol.isalpha() else f"({left[0]} {symbol} {right[0]})"
    return text, model


def comparison(first: Drawn, rest: list[tuple[str, Drawn]]) -> Drawn:
    def model(values: Mapping[str, Any]) -> bool:
        left = first[1](values)
        for symbol, operand in rest:
            right = operand[1](values)
            if left is None or right is None:
                holds = {"==": left is right, "!=": left is not right}.get(symbol, False)
            else:
                one, other = number_of(left), number_of(right)
                holds = bool(
                    {
                        "==": one == other,
                        "!=": one != other,
                        "<": one < other,
                        "<=": one <= other,
                        ">": one > other,
                        ">=": one >= other,
                    }[symbol]
                )
            if not holds:
                return False
            left = right
        return True

    return "(" + first[0] + "".join(f" {symbol} {operand[0]}" for symbol, operand in rest) + ")", model


def flag(name: str) -> Drawn:
    return name, lambda values: values[name] is True


def membership(operand: Drawn, members: list[int], negated: bool) -> Drawn:
    text = f"({operand[0]} {'not in' if negated else 'in'} {members})"

    def model(values: Mapping[str, Any]) -> bool:
        value = operand[1](values)
        return (value is not None and any(number_of(value) == member for member in members)) is not negated

    return text, model


constants = st.sampled_from(["0", "1", "3", "-2", "0.5", "1e300", "7"])
numbers = st.recursive(
    st.one_of(
        constants.map(lambda text: (text, lambda values: float(text))),
        st.sampled_from(NUMBERS).map(lambda name: (name, lambda values: values[name])),
    ),
    lambda inner: st.builds(binary, st.sampled_from(["+", "-", "*", "/", "//", "%", "min", "max"]), inner, inner),
    max_leaves=4,
)
comparisons = st.builds(
    comparison,
    numbers,
    st.lists(st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers), min_size=1, max_size=2),
)
conditions = st.recursive(
    st.one_of(
        comparisons,
        st.sampled_from(["terminated", "success"]).map(flag),
        st.builds(membership, numbers, st.lists(st.integers(-3, 9), max_size=3), st.booleans()),
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: (f"(not {one[0]})", lambda values: not one[1](values))),
        st.tuples(inner, inner).map(
            lambda two: (f"({two[0][0]} and {two[1][0]})", lambda v: two[0][1](v) and two[1][1](v))
        ),
        st.tuples(inner, inner).map(
            lambda two: (f"({two[0][0]} or {two[1][0]})", lambda v: two[0][1](v) or two[1][1](v))
        ),
    ),
    max_leaves=6,
)
somewhere = st.one_of(st.none(), st.sampled_from([0.0, 1.0, -2.0, 0.5, math.inf, -math.inf, math.nan, 1e308, 3.0]))


@settings(max_examples=300)
@given(
    condition=conditions,
    values=st.fixed_dictionaries(
        {
            **dict.fromkeys(NUMBERS, somewhere),
            "terminated": st.booleans(),
            "success": st.sampled_from([True, False, None]),
        }
    ),
)
def test_values_are_those_of_the_model(condition: Drawn, values: dict[str, Any]) -> None:
    text, model = condition
    assert Condition.parse(text)(values) is bool(model(values))


WORDS = [
    *NAMES, *FUNCTIONS, "abs", "task", "options", ".goal", ".return", "and", "or", "not", "in", "is", "None", "True",
    "(", ")", "[", "]", "{", "}", ",", ":", ".", "+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", "==", "!=", "=",
    "0", "1", "-1", "1e9", "0xff", "1j", "'pick'", "'actions'", '"', "'", "#", "\\", "\n", "\t", "lambda", "if", "else",
    "for", "await", "yield", "import", ":=", "->", "@", "~", "f'{", "'''", "b'x'", "...", "__class__", "\0", "\ud800",
    "é", "９", "ｒｅｔｕｒｎ", "a" * 50,
]  # fmt: skip


@settings(max_examples=500, deadline=timedelta(seconds=2))
@given(
    st.one_of(
        st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join),
        st.lists(st.sampled_from(WORDS), max_size=40).map("".join),
        st.text(max_size=200),
        st.builds(
            lambda start, word, count, end: start + word * count + end,
            st.sampled_from(["", "1", "a"]),
            st.sampled_from(WORDS),
            st.integers(1, 2500),
            st.sampled_from(["", "1", " > 1"]),
        ),
    )
)
@example("((((" * 400)
@example("1" + "//1" * 150)
def test_any_text_is_a_condition_or_an_argument_error(text: str) -> None:
    result: object = None
    with contextlib.suppress(ArgumentError):
        result = Condition.parse(text)(VALUES)
    assert result is None or isinstance(result, bool)


@given(st.lists(st.lists(st.floats(-100, 100), max_size=6), max_size=3))
def test_aggregates_are_those_of_all_values(lists: list[list[float]]) -> None:
    columns = [np.array(one) for one in lists]
    every = np.array([value for one in lists for value in one])
    assert aggregate("any", columns) is bool(every.any())
    assert aggregate("all", columns) is bool(every.all())
    assert aggregate("sum", columns) == pytest.approx(every.sum())
    for name in ("min", "max", "mean", "std"):
        found = aggregate(name, columns)
        assert found == (pytest.approx(getattr(every, name)(), abs=1e-9) if len(every) else None)
