"""For any texts and columns, reading a dataset returns a value or raises an error of this library."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from minari._catalog.rows import dataset_rows
from minari._model.dataset_id import DatasetId, is_dataset_id, parse_dataset_id, parse_namespace
from minari._model.env_spec import parse_env_spec, specs_equal_up_to_max_episode_steps, warn_about_unmet
from minari._model.format_version import check_readable, combine_versions, is_compatible
from minari._model.infos import decode_infos, encode_infos
from minari._model.metadata_json import parse_metadata
from minari._storages.hdf5.attributes import nested_metadata
from minari.cli.listing import dataset_table
from minari.cli.terminal import as_json
from minari.dataset.description import env_facts, get_dataset_spec_dict
from minari.dataset.encoding import EpisodeCodec
from minari.dataset.metadata import DatasetMetadata
from minari.errors import DatasetCorruptError, EnvironmentSpecError, MinariError, SpaceError
from minari.serialization import deserialize_space, serialize_space
from minari.testing.strategies import spaces as any_space


NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(2**63) - 1]),
    st.floats(),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=8), st.sampled_from(["\x00", "\ud800", "\u202e"])
)
JSON = st.recursive(
    SCALARS, lambda json: st.lists(json, max_size=4) | st.dictionaries(st.text(max_size=4), json, max_size=4)
)
TYPES = ["Box", "Discrete", "MultiDiscrete", "MultiBinary", "Text", "Dict", "Tuple", "OneOf", "Sequence", "Graph", "X"]
KEYS = ["dtype", "shape", "low", "high", "n", "start", "nvec", "max_length", "min_length", "charset", "subspaces"]
KEYS += ["feature_space", "stack", "node_space", "edge_space"]
DTYPES = st.sampled_from(
    ["float32", ">f8", "int64", "bool", "O", "S1000000000", "U9", "V8", "f4,i4", "datetime64[s]", "no"]
)


def descriptions() -> st.SearchStrategy[Any]:
    """Generate texts that resemble the description of a space."""
    values = st.one_of(SCALARS, DTYPES, st.lists(NUMBERS, max_size=4))
    flat = st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional=dict.fromkeys(KEYS, values))

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        parts = st.one_of(inner, st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3))
        return st.fixed_dictionaries(
            {"type": st.sampled_from(TYPES)}, optional={key: st.one_of(parts, values) for key in KEYS}
        )

    return st.recursive(flat, around, max_leaves=8)


def outcome(function: Callable[[], Any]) -> Any:
    """Return the result of a function, or the error of this library that it raises; fail otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function()
        except MinariError as error:
            assert len(str(error)) < 5000  # noqa: PT017
            return error


@given(st.one_of(JSON, descriptions()))
def test_descriptions_of_spaces(value: Any) -> None:
    space = outcome(lambda: deserialize_space(value))
    from_text = outcome(lambda: deserialize_space(json.dumps(value)))
    if isinstance(space, spaces.Space):
        assert isinstance(space, type(from_text))
        outcome(lambda: EpisodeCodec(space, spaces.Discrete(2)))
    else:
        assert isinstance(space, SpaceError)


@given(any_space())
def test_descriptions_of_real_spaces_come_back(space: spaces.Space[Any]) -> None:
    text = serialize_space(space)
    assert deserialize_space(text) == space
    assert serialize_space(deserialize_space(text)) == text


@pytest.mark.parametrize(
    "description",
    [
        {"type": "MultiBinary", "n": 10**12},
        {"type": "MultiBinary", "n": [10**4, 10**4, 10**4]},
        {"type": "Tuple", "subspaces": [{"type": "MultiBinary", "n": 2**23}] * 3},
        {"type": "Graph", "node_space": {"type": "MultiBinary", "n": 2**40}, "edge_space": None},
        {"type": "Box", "dtype": "float32", "shape": [10**9, 10**9], "low": 0.0, "high": 1.0},
        {"type": "Box", "dtype": "S1000000000", "shape": [2], "low": [0, 0], "high": [1, 1]},
        {"type": "Box", "dtype": "O", "shape": [], "low": 0, "high": 1},
        {"type": "Discrete", "dtype": "U1000000000", "n": 3},
        {"type": "Text", "max_length": float("inf"), "min_length": 0, "charset": "a"},
        {"type": "Tuple", "subspaces": [{"type": "Tuple", "subspaces": []}] * 70_000},
    ],
)
def test_spaces_larger_than_their_description_are_refused(description: dict[str, Any]) -> None:
    with pytest.raises(SpaceError):
        deserialize_space(description)


@pytest.mark.parametrize("levels", [65, 150, 5000, 200_000])
def test_spaces_in_spaces_in_spaces_are_refused(levels: int) -> None:
    text = '{"type": "Tuple", "subspaces": [' * levels + "]}" * levels
    with pytest.raises(SpaceError):
        deserialize_space(text)
    with pytest.raises(SpaceError):
        deserialize_space('{"type": "Sequence", "stack": false, "feature_space": ' * levels + "1" + "}" * levels)


METADATA_KEYS = ["observation_space", "action_space", "env_spec", "minari_version"]
METADATA_KEYS += ["dataset_id", "author", "author_email", "requirements", "dataset_size", "compression", "description"]
METADATA_KEYS += ["combined_datasets", "code_permalink", "algorithm_name", "data_format", "jpeg_encoding"]


@given(
    st.fixed_dictionaries(
        {"total_episodes": st.integers(0, 2**64), "total_steps": st.integers(0, 2**64)},
        optional={key: st.one_of(JSON, descriptions(), descriptions().map(json.dumps)) for key in METADATA_KEYS},
    )
)
def test_metadata(value: dict[str, Any]) -> None:
    raw = outcome(lambda: parse_metadata(json.dumps(value), "x-v0"))
    if isinstance(raw, MinariError):
        assert isinstance(raw, DatasetCorruptError)
        return
    outcome(lambda: DatasetMetadata.from_raw(raw, "x-v0").public())
    outcome(lambda: DatasetMetadata.from_raw(raw, "x-v0").combined_datasets)
    outcome(lambda: DatasetMetadata.from_raw(raw, "x-v0").updated({"description": "new"}))
    outcome(lambda: get_dataset_spec_dict(raw))
    outcome(lambda: dataset_table(dataset_rows({"x-v0": raw})))
    json.dumps(as_json(raw), allow_nan=False)


@given(st.one_of(JSON.map(json.dumps), st.text(), st.binary()))
def test_texts_of_metadata(text: str | bytes) -> None:
    assert isinstance(outcome(lambda: parse_metadata(text, "x-v0")), (dict, DatasetCorruptError))


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**6, "1" * 10**5, '{"total_episodes": 1' + "0" * 5000 + "}"])
def test_texts_that_no_parser_survives(text: str) -> None:
    with pytest.raises(DatasetCorruptError):
        parse_metadata(text, "x-v0")


def test_metadata_that_are_nested_deeply_can_be_copied_and_shown_or_are_refused() -> None:
    for levels in (100, 300, 900):
        value = {
            "total_episodes": 0,
            "total_steps": 0,
            "env_spec": "{}",
            "more": json.loads("[" * levels + "]" * levels),
        }
        raw = outcome(lambda value=value: parse_metadata(json.dumps(value), "x-v0"))
        if not isinstance(raw, DatasetCorruptError):
            DatasetMetadata.from_raw(raw, "x-v0").updated({"description": "new"}).to_json()
            as_json(raw)


SPEC_KEYS = ["entry_point", "reward_threshold", "nondeterministic", "max_episode_steps", "order_enforce", "kwargs"]
SPEC_KEYS += ["disable_env_checker", "additional_wrappers", "vector_entry_point", "namespace", "name", "version"]


SPEC_IDS = st.one_of(st.text(max_size=9), st.sampled_from(["CartPole-v1", "os:Evil-v0", "a" * 10**5 + "-v" * 99]))


@given(st.one_of(JSON, st.fixed_dictionaries({"id": SPEC_IDS}, optional=dict.fromkeys(SPEC_KEYS, JSON))))
def test_specs_of_environments(value: Any) -> None:
    spec = outcome(lambda: parse_env_spec(json.dumps(value)))
    if isinstance(spec, MinariError):
        assert isinstance(spec, EnvironmentSpecError)
        return
    env_facts(spec)
    assert specs_equal_up_to_max_episode_steps(spec, parse_env_spec(json.dumps(value)))


@given(st.one_of(SCALARS, st.text(alphabet="=!<>~,.0123456789*abrcdevpost ", max_size=300)))
def test_versions(text: Any) -> None:
    assert outcome(lambda: is_compatible(text)) in (True, False)
    outcome(lambda: check_readable(text, "x-v0"))
    outcome(lambda: combine_versions([text, "~=0.4"]))


@given(st.one_of(JSON, st.text(alphabet="/-v0a_ ", max_size=50)))
def test_ids(text: Any) -> None:
    parsed = outcome(lambda: parse_dataset_id(text))
    if is_dataset_id(text):
        assert str(DatasetId(*parsed)) == text
    else:
        assert isinstance(parsed, MinariError)
    outcome(lambda: parse_namespace(text))


@given(st.lists(st.text(max_size=30)))
def test_requirements(texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warn_about_unmet(texts)


# Columns

SHAPES = st.one_of(st.just((4,)), st.just((4, 2)), st.just(()), st.just((0,)), st.just((3,)), st.just((4, 0)))
INTEGERS = st.sampled_from([0, 1, 2, -1, -2, 5, 2**31, 2**62, 2**63 - 1, -(2**63)])


@st.composite
def columns(draw: st.DrawFn) -> Any:
    """An array as a damaged file may hold it."""
    kind = draw(st.sampled_from(["int", "uint", "float", "bool", "text", "bytes"]))
    shape = draw(st.sampled_from([(4,), (4, 2), (0,), (3,), (4, 0), (5,), (3, 2, 1)]))
    size = int(np.prod(shape))
    if kind in ("text", "bytes"):
        text = st.one_of(st.sampled_from(["{}", "[1", "[" * 2000, "NaN", "1" * 5000]), st.text(max_size=4))
        values = draw(st.lists(text, min_size=size, max_size=size))
        column = np.empty(size, object)
        column[:] = values if kind == "text" else [value.encode("utf-8", "surrogatepass") for value in values]
        return column.reshape(shape)
    values = draw(st.lists(INTEGERS, min_size=size, max_size=size))
    dtype = {"int": np.int64, "uint": np.uint64, "float": np.float64, "bool": np.bool_}[kind]
    return np.array([value % 2**64 if kind == "uint" else value for value in values]).astype(dtype).reshape(shape)


INFO_PARTS = st.sampled_from(["a", "b", "_ragged_values", "_ragged_shapes", "_json", 0, 1, 2, "_a"])


@given(st.dictionaries(st.lists(INFO_PARTS, max_size=4).map(lambda parts: ("infos", *parts)), columns(), max_size=5))
def test_columns_of_infos(found: dict[Any, Any]) -> None:
    assert isinstance(outcome(lambda: decode_infos(found)), (dict, DatasetCorruptError))


def test_infos_that_are_nested_too_deeply() -> None:
    with pytest.raises(DatasetCorruptError, match="too deeply"):
        decode_infos({("infos", *["a"] * 2000): np.zeros(3)})


@pytest.mark.parametrize(
    ("dims", "count"),
    [([[2], [3]], 4), ([[2**62, 4], [1, 1]], 1), ([[2**32, 2**32], [0, 0]], 0), ([[1] * 100] * 2, 2),
     ([[0, 2**63 - 1], [0, 0]], 0)],
)  # fmt: skip
def test_ragged_shapes_that_do_not_fit_their_values(dims: list[list[int]], count: int) -> None:
    values = np.arange(float(count))
    found = {("infos", "a", "_ragged_values"): values, ("infos", "a", "_ragged_shapes"): np.array(dims)}
    decoded = outcome(lambda: decode_infos(found))
    assert isinstance(decoded, DatasetCorruptError) or sum(row.size for row in decoded["a"]) == count


def test_ragged_infos_come_back() -> None:
    rows = [np.arange(3.0), np.zeros((2, 0)), np.ones((1, 2))]
    decoded = decode_infos(encode_infos({"a": rows}, 3))
    assert all(map(np.array_equal, decoded["a"], rows))


def steps_of(steps: int) -> dict[Any, Any]:
    """Return what an episode has beside observations."""
    zeros = np.zeros(steps)
    return {("actions",): zeros, ("rewards",): zeros, ("terminations",): zeros > 0, ("truncations",): zeros > 0}


BOX = spaces.Box(-1, 1, (2,), np.float32)
RAGGED = [
    spaces.Sequence(BOX),
    spaces.Sequence(BOX, stack=True),
    spaces.Sequence(spaces.Dict({})),
    spaces.Sequence(spaces.Text(5)),
    spaces.Graph(BOX, spaces.Discrete(3)),
    spaces.OneOf([BOX, spaces.Discrete(2), spaces.Text(3)]),
    spaces.Dict({"a": BOX, "b": spaces.Tuple([spaces.Text(3), spaces.Discrete(2)])}),
]


@pytest.mark.parametrize("space", RAGGED, ids=str)
@given(data=st.data())
def test_columns_of_spaces(space: spaces.Space[Any], data: st.DataObject) -> None:
    codec = EpisodeCodec(space, spaces.Discrete(2))
    paths = [path for path in codec.observations.paths() if data.draw(st.integers(0, 9))]  # or it is missing
    found = {path: data.draw(columns()) for path in paths}
    decoded = outcome(lambda: codec.decode(0, {**found, **steps_of(3)}))
    assert isinstance(decoded, (dict, DatasetCorruptError))


@pytest.mark.parametrize("lengths", [[-1, 5], [2**62, 2**62], [3, 3], [0, 0], [1.0, 3.0]])
def test_lengths_that_do_not_add_up(lengths: list[Any]) -> None:
    codec = EpisodeCodec(spaces.Sequence(spaces.Discrete(9)), spaces.Discrete(2))
    found = {("observations", "_lengths"): np.array(lengths), ("observations", "_values"): np.arange(4)}
    with pytest.raises(DatasetCorruptError):
        codec.decode(0, {**found, **steps_of(1)})


@pytest.mark.parametrize("name", ["observations", "actions", "terminations", "infos"])
def test_rows_that_are_not_those_of_the_rewards(name: str) -> None:
    codec = EpisodeCodec(spaces.Discrete(9), spaces.Discrete(2))
    found: dict[Any, Any] = {("observations",): np.zeros(4, int), ("infos", "x"): np.zeros(4)}
    found |= {(part,): np.zeros(3) for part in ("actions", "rewards", "terminations", "truncations")}
    codec.decode(0, found)
    path = ("infos", "x") if name == "infos" else (name,)
    with pytest.raises(DatasetCorruptError, match=name):
        codec.decode(0, {**found, path: np.zeros(2)})


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_totals_that_no_data_have_allocate_nothing(tmp_path: Any) -> None:
    import minari

    saved = minari.create_dataset_from_arrays(
        "huge/totals-v0", observations=np.arange(3.0), actions=np.zeros(2), rewards=np.ones(2),
        terminations=np.array([False, True]),
    )  # fmt: skip
    file = saved.storage.data_path / "metadata.json"
    code = (
        f"import minari\ntry: minari.open_dataset({str(file.parent)!r})\n"
        "except minari.errors.DatasetCorruptError: print('ours')"
    )
    for total in (2, 10**6, 10**10, 2**63 - 1):
        file.write_text(json.dumps({**json.loads(file.read_text()), "total_episodes": total, "total_steps": total}))
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True, text=True, timeout=60, check=False, preexec_fn=_limit_memory,
        )  # fmt: skip
        assert done.stdout.strip() == "ours", done.stderr


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


@pytest.mark.parametrize("shape", [(10**14,), (2**62, 4), (0,), (3,), (2, 2)])
def test_array_files_in_attributes_are_as_large_as_their_header_says(shape: tuple[int, ...]) -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    content = base64.b64encode(file.getvalue() + bytes(32)).decode()
    metadata = nested_metadata([("x:npy", content), ("deep:json", "[" * 10**5)])
    assert metadata["deep:json"] == "[" * 10**5
    if shape == (2, 2):
        assert metadata["x"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    else:
        assert metadata["x:npy"] == content  # what it is not, it is not taken for
