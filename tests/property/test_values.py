"""Infos of any type and under any key, through every format, against a model of what comes back."""

from __future__ import annotations

import datetime
import enum
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from minari._model.infos import append_info
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_same
from minari.testing.examples import as_buffer, draw_truth
from support.copies import in_every_format


SPACE, ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(3)


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Name(str):
    """Text with a class of its own."""


def column(values: list[Any]) -> Any:
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def stacked(values: list[Any]) -> Any:
    return np.stack([np.asarray(value) for value in values])


_structures = st.sampled_from(
    [
        np.dtype([("a", np.int16), ("b", np.float32, (2,))]),
        np.dtype([("x", np.bool_), ("y", np.float64), ("z", "S2")], align=True),
        np.dtype([("größe", [("in/side", np.uint8)]), ("when", "M8[s]")]),
    ]
)
_units = st.sampled_from(["D", "s", "us", "ns"])
_bytes = st.binary(max_size=5)


def stacked_of(values: Any) -> tuple[Any, Any]:
    return values, stacked


#: One of these is drawn for a key: a strategy of strategies for its values, and the model of what comes back.
KINDS: dict[str, tuple[Any, Any]] = {
    "bytes": (st.just(_bytes), column),
    "void": stacked_of(st.integers(1, 4).map(lambda size: st.binary(min_size=size, max_size=size).map(np.void))),
    "arrays-of-bytes": stacked_of(
        st.just(
            st.lists(_bytes.map(lambda text: text.rstrip(b"\0")), min_size=2, max_size=2).map(
                lambda v: np.array(v, "S5")
            )
        )
    ),
    "structures": stacked_of(
        _structures.map(lambda dtype: st.integers(0, 8).map(lambda number: np.full((1, 2), number).astype(dtype)))
    ),
    **{
        name: stacked_of(_units.map(lambda unit, t=t: st.integers(-(2**40), 2**40).map(lambda n: t(n, unit))))
        for name, t in {"dates": np.datetime64, "spans": np.timedelta64}.items()
    },
    "datetimes": (
        st.just(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))),
        lambda values: np.array(values, "M8[us]"),
    ),
    "sets": (
        st.just(st.sets(st.integers(-9, 9), min_size=2, max_size=2)),
        lambda values: np.array([sorted(value) for value in values]),
    ),
    "sets-of-text": (
        st.just(st.frozensets(st.text(max_size=2), max_size=3)),
        lambda values: column([sorted(value) for value in values]),
    ),
    "enumerations": (st.just(st.sampled_from(Color)), lambda values: column([value.value for value in values])),
    "names": (st.just(st.text("aé🎲", max_size=3).map(Name)), lambda values: column(list(map(str.__str__, values)))),
    "big-endian": (
        st.just(st.integers(-9, 9).map(lambda number: np.full(2, number, ">i4"))),
        lambda values: stacked(values).astype(np.int32),
    ),
    "pairs": (
        st.just(st.tuples(st.integers(-9, 9), st.text("ab", max_size=3))),
        lambda values: (np.array([number for number, _ in values]), column([text for _, text in values])),
    ),
}

_keys = st.one_of(
    st.integers(-3, 3),
    st.none(),
    st.floats(0.25, 0.75),
    st.tuples(st.integers(0, 3), st.text(max_size=2)),
    st.text(st.sampled_from("a/._\0x0"), max_size=4),
    st.sampled_from(["_json", "_ragged_values", "_index_0", "_dtype=S3", "_key:0", "..", "\ud800", "a", "a/b", "_a"]),
)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[int, dict[Any, tuple[list[Any], Any]]]:
    rows = draw(st.integers(2, 4))
    infos: dict[Any, tuple[list[Any], Any]] = {}
    for key in draw(st.lists(_keys, min_size=1, max_size=3, unique_by=repr)):
        make, model = KINDS[draw(st.sampled_from(sorted(KINDS)))]
        values = draw(make)
        given_values = draw(st.lists(values, min_size=rows, max_size=rows))
        infos[key] = given_values, model(given_values)
    return rows, infos


def _looked_up(infos: dict[Any, Any], key: Any) -> Any:
    """The info of a key; a key with slashes is nested dicts where nothing is in the way."""
    if key in infos:
        return infos[key]
    node: Any = infos
    for part in key.split("/"):
        node = node[part]
    return node


@in_every_format
@settings(deadline=None)
@given(case=_cases())
def test_infos_of_any_type_under_any_key(
    data_format: str, tmp_path_factory: pytest.TempPathFactory, case: tuple[int, dict[Any, tuple[list[Any], Any]]]
) -> None:
    rows, given_infos = case
    infos: dict[Any, Any] = {}
    for row in range(rows):
        append_info(infos, {key: values[row] for key, (values, _) in given_infos.items()}, row)
    storage = MinariStorage.new(tmp_path_factory.mktemp("s") / "data", SPACE, ACTIONS, data_format=data_format)
    storage.update_episodes([as_buffer(draw_truth(SPACE, ACTIONS, rows - 1), infos=infos)])
    opened = MinariStorage.read(storage.data_path, verify_checksums=True)
    (episode,) = opened.get_episodes([0])
    for key, (_, expected) in given_infos.items():
        assert_same(_looked_up(episode["infos"], key), expected, repr(key))
    # What was read can be written again, in another format.
    other = "arrow" if data_format == "hdf5" else "hdf5"
    copy = MinariStorage.new(tmp_path_factory.mktemp("c") / "data", SPACE, ACTIONS, data_format=other)
    copy.update_from_storage(opened)
    (copied,) = copy.get_episodes([0])
    assert_same(copied["infos"], episode["infos"])
