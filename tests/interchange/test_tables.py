"""CSV and Parquet tables and data frames: conventions, options, round trips and damage."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, ArgumentTypeError, InterchangeError
from minari.interchange import export_dataset, import_dataset, read


pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

ROWS = 6
EPISODES = [0, 0, 0, 1, 1, 1]


def columns(**changes: Any) -> dict[str, Any]:
    found = {
        "episode": EPISODES,
        "obs_0": [0.5, 1, 2, 3, 4, 5],
        "obs_1": [10, 11, 12, 13, 14, 15],
        "action": [0, 1, 2, 1, 0, 1],
        "reward": [1.0, 2, 3, 4, 5, 6],
        "terminated": [False, False, True, False, False, False],
        "truncated": [False, False, False, False, False, True],
        **changes,
    }
    return {name: values for name, values in found.items() if values is not None}


def write(path: Path, values: dict[str, Any]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(values), path)
        return path
    lines = [",".join(values), *(",".join(map(str, row)) for row in zip(*values.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_are_found_by_convention(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", columns(speed=[7] * ROWS))
    dataset = import_dataset(path, "tables/a-v0", final_observation="repeat")
    assert isinstance(dataset, minari.MinariDataset)
    first, second = dataset
    np.testing.assert_array_equal(first.observations, [[0.5, 10], [1, 11], [2, 12], [2, 12]])
    assert (first.actions.tolist(), first.actions.dtype) == ([0, 1, 2], np.int64)
    assert dataset.action_space == gym.spaces.Discrete(3)
    assert (second.rewards.tolist(), second.truncations.tolist()) == ([4, 5, 6], [False, False, True])
    assert first.terminations.tolist() == [False, False, True]
    assert first.infos["speed"][:3].tolist() == [7] * 3


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_are_named_by_options(tmp_path: Path, suffix: str) -> None:
    names = {"obs_0": "x", "obs_1": "y", "action": "force", "reward": "score", "terminated": "ok", "truncated": None}
    values = {names.get(name, name): column for name, column in columns().items() if names.get(name, name)}
    values["episode"] = ["a", "a", "a", "b", "b", "b"]
    path = write(tmp_path / f"a.{suffix}", values)
    options = {"observations": "y,x", "actions": "force", "rewards": "score", "done": "ok"}
    source = read(path, suffix, final_observation="drop_last_step", done_is="truncated", **options)
    first, second = source.episodes
    np.testing.assert_array_equal(first.observations, [[10, 0.5], [11, 1], [12, 2]])
    assert (first.rewards.tolist(), second.truncations.tolist()) == ([1, 2], [False, True])
    assert any("ok means truncated" in sentence for sentence in source.report.assumed)


def test_numbered_columns_are_sorted_by_number(tmp_path: Path) -> None:
    wide = {f"q{number}": [float(number)] * ROWS for number in (10, 2, 1)}
    path = write(tmp_path / "a.csv", {**columns(), **wide})
    source = read(path, observations="q*", final_observation="repeat")
    np.testing.assert_array_equal(next(iter(source.episodes)).observations[0], [1, 2, 10])


def test_dicts_and_next_observations(tmp_path: Path) -> None:
    values = {
        **columns(obs_0=None, obs_1=None),
        "observation.arm.q_0": [0.0] * ROWS,
        "observation.arm.q_1": [1.0] * ROWS,
        "observation.goal": [2.0] * ROWS,
        "next_observation.arm.q_0": [3.0] * ROWS,
        "next_observation.arm.q_1": [4.0] * ROWS,
        "next_observation.goal": [5.0] * ROWS,
        "action_mask": [1] * ROWS,
    }
    first, _ = read(write(tmp_path / "a.csv", values)).episodes
    np.testing.assert_array_equal(first.observations["arm"]["q"], [[0, 1]] * 3 + [[3, 4]])
    np.testing.assert_array_equal(first.observations["goal"], [2, 2, 2, 5])
    assert "action_mask" in first.infos


def test_flags_bound_episodes_without_an_episode_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", columns(episode=None, truncated=None, terminated=[0, 1, 0, 0, 0, 0]))
    source = read(path, final_observation="repeat")
    assert [len(episode.rewards) for episode in source.episodes] == [2, 4]
    assert "1 episodes that no flag ends are truncated" in source.report.assumed


def test_empty_cells_are_nan_in_floats_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", columns(obs_0=[0.5, "", 2, 3, 4, 5]))
    first, _ = read(path, final_observation="repeat").episodes
    assert np.isnan(first.observations[1, 0])
    path = write(tmp_path / "b.csv", columns(action=[0, "", 2, 3, 4, 5]))
    with pytest.raises(InterchangeError, match="1 rows without a value"):
        read(path, final_observation="repeat")


def test_types_follow_from_all_rows(tmp_path: Path) -> None:
    many = 600_000  # more than a block
    text = "obs,action,reward,done\n" + "".join(f"1,{row % 3},{row},false\n" for row in range(many)) + "0.25,1,1,true\n"
    (tmp_path / "a.csv").write_text(text)
    (episode,) = read(tmp_path / "a.csv", final_observation="repeat").episodes
    assert episode.observations.dtype == np.float64
    assert (episode.observations[-1], len(episode.rewards)) == (0.25, many + 1)


def test_types_of_next_observations_are_those_of_observations(tmp_path: Path) -> None:
    names = {"obs_0": None, "obs_1": None, "observation.a": ["x", "2"] * 3, "next_observation.a": [7] * ROWS}
    more = {"observation.b": [1] * ROWS, "next_observation.b": [1.5] * ROWS}
    first, _ = read(write(tmp_path / "a.csv", columns(**names, **more))).episodes
    assert list(first.observations["a"]) == ["x", "2", "x", "7"]
    assert first.observations["b"].tolist() == [1.0, 1.0, 1.0, 1.5]


TEXTS = ["007", "1e5", "nan", "true", "", 'a "b", c', "ä\nb"]


@pytest.mark.parametrize("first", TEXTS)
def test_csv_keeps_texts_and_kinds_of_numbers(tmp_path: Path, first: str) -> None:
    texts = [first, *TEXTS]
    values = np.array([2.0, -0.0, np.inf, np.nan, 4, 5, 6, 7])
    space = gym.spaces.Dict(
        t=gym.spaces.Text(9, min_length=0, charset="".join(sorted(set("".join(TEXTS))))),
        x=gym.spaces.Box(-np.inf, np.inf, (), np.float64),
        n=gym.spaces.Box(0, 9, (), np.int64),
    )
    buffer = EpisodeBuffer(
        observations={"t": texts, "x": values, "n": np.arange(8)},
        actions=np.arange(7) * 1.0,
        rewards=np.zeros(7),
        terminations=np.arange(7) == 6,
        truncations=np.zeros(7, bool),
    )
    actions = gym.spaces.Box(0, 9, (), np.float64)
    dataset = minari.create_dataset_from_buffers(
        "tables/texts-v0", [buffer], observation_space=space, action_space=actions
    )
    export_dataset(dataset, tmp_path / "a.csv", "csv")
    (episode,) = read(tmp_path / "a.csv").episodes
    assert list(episode.observations["t"]) == texts
    assert (episode.observations["n"].dtype, episode.actions.dtype, episode.rewards.dtype) == ("i8", "f8", "f8")
    np.testing.assert_array_equal(episode.observations["x"], values)
    assert np.signbit(episode.observations["x"][1])


@pytest.mark.parametrize(
    ("text", "options", "found", "told"),
    [
        ("007", {}, [7, 8], "obs, action, reward: whole numbers"),
        ("007", {"texts": "obs"}, ["007", "8"], "obs: texts"),
        ('"007"', {}, ["007", "8"], "obs: texts"),
    ],
)
def test_types_of_csv_are_guessed_and_told(tmp_path: Path, text: str, options: Any, found: Any, told: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"obs,action,reward,done\n{text},0,0,false\n8,1,1,true\n")
    source = read(path, final_observation="next_row", **options)
    (episode,) = source.episodes
    assert list(episode.observations) == found
    assert any("types of columns" in sentence and told in sentence for sentence in source.report.assumed)


def test_csv_with_quotes_around_all_cells_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('"obs","action","reward","done"\n\n"1","0","0","false"\n"2","1","1","true"\n')
    (episode,) = read(path, final_observation="repeat").episodes
    assert episode.observations.tolist() == [1, 2, 2]


def test_columns_of_texts_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", columns())
    with pytest.raises(InterchangeError, match="values of the type 'double', expected texts"):
        read(path, texts="obs_0", final_observation="repeat")
    with pytest.raises(InterchangeError, match="has no column 'nothing' for texts"):
        read(write(tmp_path / "a.csv", columns()), texts="nothing", final_observation="repeat")


@pytest.mark.parametrize("library", ["pandas", "arrow"])
def test_data_frames_are_read(library: str) -> None:
    table = pa.table(columns())
    if library == "pandas":
        pytest.importorskip("pandas")
    frame = table.to_pandas() if library == "pandas" else table
    dataset = import_dataset(frame, "tables/frame-v0", final_observation="repeat")
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (2, ROWS)
    with pytest.raises(ArgumentTypeError, match="or a data frame"):
        read(3)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"reward": None}, {}, "no rewards"),
        ({"action": None}, {}, "no columns of actions"),
        ({"obs_0": None, "obs_1": None}, {}, "no columns of observations"),
        ({"episode": None, "terminated": None, "truncated": None}, {}, "does not say where episodes end"),
        ({"episode": [0, 1, 0, 1, 1, 1]}, {}, "sort the table"),
        ({"terminated": [2] * ROWS}, {}, "expected a flag a step"),
        ({}, {"observations": "nothing"}, "no column 'nothing' for observations"),
        ({}, {"rewards": "nothing"}, "no column 'nothing' for rewards"),
        ({"obs_0": ["a"] * ROWS}, {}, "no numbers"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_other_contents_are_refused(
    tmp_path: Path, suffix: str, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / f"a.{suffix}", columns(**changes))
    with pytest.raises(InterchangeError, match=message) as raised:
        read(path, suffix, final_observation="repeat", **options)
    assert "\n" not in str(raised.value)


def test_missing_observations_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", columns(reward=None))
    with pytest.raises(InterchangeError, match="no observation after the last step"):
        read(path, rewards_are="zeros")
    with pytest.raises(ArgumentError, match="has no option 'reward'"):
        read(path, reward="x")


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"obs,action,reward,done\n", b"obs,action\n1,2,3\n", b"\xff\xfe\0\0" * 50, b'obs,action\n"1,2\n'],
)
def test_odd_csv_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InterchangeError) as raised:
        list(read(tmp_path / "a.csv", "csv", final_observation="repeat").episodes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("seed", range(12))
def test_damage_is_an_error_of_ours(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    path = write(tmp_path / "a.parquet", columns())
    data = bytearray(path.read_bytes())
    if seed % 2:
        data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
    else:
        del data[int(generator.integers(len(data))) :]
    path.write_bytes(data)
    with suppress(InterchangeError):  # a flipped bit may change nothing but a value
        list(read(path, "parquet", final_observation="repeat").episodes)


@st.composite
def datasets(draw: st.DrawFn) -> minari.MinariDataset:
    """A dataset that tables can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(), (1,), (3,), (12,)]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int16]))
    array = gym.spaces.Box(-100, 100, shape, dtype)
    nested = gym.spaces.Dict({"a": array, "b": gym.spaces.Dict(c=array), "t": gym.spaces.Text(5, min_length=1)})
    space = draw(st.sampled_from([array, nested]))
    actions = draw(st.sampled_from([gym.spaces.Discrete(4), gym.spaces.Box(-1, 1, (2,), np.float64)]))
    space.seed(int(generator.integers(2**31)))
    actions.seed(int(generator.integers(2**31)))
    infos = draw(st.booleans())
    episodes = []
    for _ in range(draw(st.integers(1, 4))):
        buffer = EpisodeBuffer()
        steps = draw(st.integers(1, 5))
        for step in range(steps + 1):
            is_first = not step
            buffer = buffer.add_step_data(
                {
                    "observation": space.sample(),
                    "action": None if is_first else actions.sample(),
                    "reward": None if is_first else generator.random(),
                    "terminated": None if is_first else bool(generator.integers(2)),
                    "truncated": None if is_first else step == steps,
                    "info": {"x": generator.random(2), "deep": {"y": step, "text": f"ö{step}"}} if infos else {},
                }
            )
        episodes.append(buffer)
    return minari.create_dataset_from_buffers(
        "tables/drawn-v0", episodes, observation_space=space, action_space=actions
    )


def assert_same(ours: Any, theirs: Any, *, is_exact: bool) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same(ours[key], theirs[key], is_exact=is_exact)
        return
    a, b = np.asarray(ours), np.asarray(theirs)
    assert a.dtype == b.dtype if is_exact else a.dtype.kind == b.dtype.kind
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_import_of_an_export_is_the_same(
    suffix: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in ("tables/drawn-v0", "tables/again-v0"):
        if name in minari.list_local_datasets():
            minari.delete_dataset(name)
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / f"a.{suffix}"
    export_dataset(dataset, path, suffix)
    again = import_dataset(path, "tables/again-v0")
    assert isinstance(again, minari.MinariDataset)
    is_exact = suffix == "parquet"
    if is_exact:
        assert (again.observation_space, again.action_space) == (dataset.observation_space, dataset.action_space)
    assert len(again) == len(dataset)
    for ours, theirs in zip(again, dataset, strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            assert_same(getattr(ours, name), getattr(theirs, name), is_exact=is_exact)
        for key in ("x", "deep"):
            if key in theirs.infos and is_exact:
                leaf = (lambda infos: infos["x"]) if key == "x" else (lambda infos: infos["deep"]["y"])
                np.testing.assert_array_equal(leaf(ours.infos)[:-1], leaf(theirs.infos)[:-1])


@pytest.mark.parametrize(
    ("keys", "is_kept"), [(("a", "b"), True), (("q0", "q1"), False), (("q1", "r1"), True), (("0", "b"), False)]
)
def test_a_csv_export_says_which_names_are_read_as_vectors(
    tmp_path: Path, keys: tuple[str, ...], is_kept: bool
) -> None:
    space = gym.spaces.Dict({key: gym.spaces.Discrete(3) for key in keys})
    episode = EpisodeBuffer(
        observations={key: np.arange(2) for key in keys},
        actions=np.zeros(1, int),
        rewards=[0.0],
        terminations=[True],
        truncations=[False],
    )
    dataset = minari.create_dataset_from_buffers(
        "tables/numbered-v0", [episode], observation_space=space, action_space=gym.spaces.Discrete(2)
    )
    report = export_dataset(dataset, tmp_path / "a.csv", "csv")
    assert any("numbered columns" in sentence for sentence in report.missing) is not is_kept
    again = read(tmp_path / "a.csv").observation_space
    assert (isinstance(again, gym.spaces.Dict) and set(again) == set(keys)) is is_kept


def test_exports_are_tables_for_others(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    buffer = EpisodeBuffer(
        observations=np.arange(6.0, dtype=np.float32).reshape(3, 2) / 3,
        actions=[0, 1],
        rewards=[0.1, 0.2],
        terminations=[False, True],
        truncations=[False, False],
    )
    dataset = minari.create_dataset_from_buffers(
        "tables/others-v0",
        [buffer],
        observation_space=gym.spaces.Box(-9, 9, (2,), np.float32),
        action_space=gym.spaces.Discrete(2),
    )
    report = export_dataset(dataset, tmp_path / "a.csv", "csv")
    assert any("dtypes" in sentence for sentence in report.missing)
    frame = pandas.read_csv(tmp_path / "a.csv")
    assert frame["observation_1"].astype(np.float32).tolist() == buffer.observations[:2, 1].tolist()
    assert frame["next_observation_0"].astype(np.float32).tolist() == buffer.observations[1:, 0].tolist()
    assert frame["terminated"].tolist() == [False, True]
    export_dataset(dataset, tmp_path / "a.parquet", "parquet")
    assert (
        np.stack(pandas.read_parquet(tmp_path / "a.parquet")["observation"]).tolist()
        == buffer.observations[:2].tolist()
    )
