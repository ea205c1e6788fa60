"""Damaged and lying files of every format are read, or refused in one sentence, in bounded time and memory."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

import minari
from interchange.mutants import faults
from minari._model.episode_buffer import EpisodeBuffer
from minari.cli.interchange import run_export, run_import
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.errors import ArgumentError, InterchangeError, MinariError
from minari.interchange import export_dataset, formats, get_format, import_dataset, read
from minari.interchange.damage import damage_as_error
from support.limits import MEGABYTE, run_limited


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with an export in each format that can be written."""
    return tmp_path_factory.mktemp("exports")


@pytest.mark.parametrize("name", formats())
def test_mutants_do_no_harm(name: str, exports: Path) -> None:
    """No mutant crashes, hangs, takes much memory, writes elsewhere, or raises something else than one sentence."""
    assert faults(name, 6, exports) == {}


@pytest.mark.soak
@pytest.mark.parametrize("name", formats())
def test_many_mutants_do_no_harm(name: str, exports: Path) -> None:
    """As above, with many more of them: as many as MINARI_MUTANTS says."""
    assert faults(name, int(os.environ.get("MINARI_MUTANTS", "2000")), exports, first=1000) == {}


@pytest.mark.parametrize("name", [None, *formats()])
@pytest.mark.parametrize("kind", ["pipe", "device", "nothing", "directory of pipes"])
def test_what_is_no_file_is_refused(name: str | None, kind: str, tmp_path: Path) -> None:
    """Pipes and devices are refused at once, whether named or found in a directory."""
    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    elif kind == "nothing":
        place.touch()
    else:
        place.mkdir()
        for file in ("a.sqlite", "state.json", "trajectory.h5", "trajectory.json", "x.json", "features.json"):
            os.mkfifo(place / file)
    outcome = run_limited(lambda: list(read(place, name).episodes), seconds=20)
    assert outcome.is_ours, outcome


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    """Whoever names a link means the file it leads to."""
    (tmp_path / "elsewhere").mkdir()
    export_dataset(_made({"a": _box(2)}), tmp_path / "elsewhere" / "data.parquet", "parquet")
    (tmp_path / "link.parquet").symlink_to("elsewhere/data.parquet")
    assert read(tmp_path / "link.parquet").report.format == "parquet"


def _box(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)


def _rows(space: Any, count: int) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: _rows(part, count) for key, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_rows(part, count) for part in space.spaces)
    return np.stack([space.sample() for _ in range(count)])


def _made(spaces: Any, ends: tuple[tuple[int, ...], ...] = ((2,), (2,)), dataset_id: str = "hostile/x-v0") -> Any:
    """A dataset with episodes of three steps, which terminate at the given ones."""
    space = gym.spaces.Dict(spaces) if isinstance(spaces, dict) else spaces
    episodes = [
        EpisodeBuffer(
            observations=_rows(space, 4),
            actions=_rows(_box(2), 3),
            rewards=np.arange(3.0),
            terminations=np.isin(np.arange(3), at),
            truncations=np.zeros(3, bool),
        )
        for at in ends
    ]
    return create_dataset_from_buffers(dataset_id, episodes, observation_space=space, action_space=_box(2))


@pytest.mark.parametrize(
    "spaces",
    [
        {"a.b": _box(3), "a": gym.spaces.Dict({"b": _box(3)})},
        {"a": _box(2), "a_0": _box()},
        {"a.b": _box(), "a": _box()},
    ],
)
def test_columns_of_one_name_are_refused(spaces: Any, tmp_path: Path) -> None:
    """A CSV file has no place for two values that its names would mix up; none is lost."""
    with pytest.raises(InterchangeError, match="same column"):
        export_dataset(_made(spaces), tmp_path / "t.csv", "csv")
    assert not [*tmp_path.glob("*.csv"), *tmp_path.glob(".t*")]


@pytest.mark.parametrize(
    ("spaces", "said"),
    [
        (gym.spaces.Tuple([_box(2), _box(3)]), "tuple"),
        ({"a.c": _box(2)}, "dots"),
        ({"a": _box(2), "empty": gym.spaces.Dict({})}, "without keys|no keys"),
    ],
)
def test_what_a_table_makes_of_names_is_reported(spaces: Any, said: str, tmp_path: Path) -> None:
    """The report of a CSV export names tuples, dots and empty dicts."""
    report = export_dataset(_made(spaces), tmp_path / "t.csv", "csv")
    assert any(part in " ".join(report.missing) for part in said.split("|"))


@pytest.mark.parametrize("name", ["d4rl", "rllib"])
def test_episodes_that_are_split_by_flags_are_reported(name: str, tmp_path: Path) -> None:
    """Flags before the last step are named where flags are the bounds of episodes."""
    report = export_dataset(_made(_box(2), ends=((0, 2), (2,))), tmp_path / "out", name)
    assert any("flags before their last step" in sentence for sentence in report.missing)


@pytest.mark.parametrize("name", [name for name in formats() if get_format(name).is_writable])
@pytest.mark.parametrize("key", [".", "..", "", "/a", "a\0b", "\ud800"])
def test_infos_of_odd_names_are_kept_or_reported(name: str, key: str, tmp_path: Path) -> None:
    """No name of an info breaks an export or makes it one that cannot be imported."""
    buffer = EpisodeBuffer(
        observations=np.zeros((3, 2), np.float32),
        actions=np.zeros((2, 2), np.float32),
        rewards=np.zeros(2),
        terminations=[False, True],
        truncations=[False, False],
        infos={key: np.arange(3.0)},
    )
    dataset = create_dataset_from_buffers("hostile/names-v0", [buffer], observation_space=_box(2), action_space=_box(2))
    report = export_dataset(dataset, tmp_path / "out", name)
    (again,) = read(tmp_path / "out", name).episodes
    kept = isinstance(again, EpisodeBuffer) and again.infos and set(again.infos) & {key, key.strip("/")}
    assert kept or any("info" in sentence or "dots" in sentence for sentence in report.missing)


def test_infos_that_are_arrays_and_dicts_are_reported(tmp_path: Path) -> None:
    """An info that is a number in one episode and a dict in another has no place in an HDF5 file."""
    episodes = [
        EpisodeBuffer(
            observations=np.zeros((2, 2), np.float32),
            actions=np.zeros((1, 2), np.float32),
            rewards=[0.0],
            terminations=[True],
            truncations=[False],
            infos={"x": values},
        )
        for values in (np.arange(2.0), {"y": np.arange(2.0)})
    ]
    dataset = create_dataset_from_buffers("hostile/kinds-v0", episodes, observation_space=_box(2), action_space=_box(2))
    report = export_dataset(dataset, tmp_path / "out.hdf5", "d4rl")
    assert any("infos/x/y" in sentence for sentence in report.missing)


@pytest.mark.parametrize("name", ["rlds", "csv", "parquet"])
def test_observations_without_values_are_refused(name: str, tmp_path: Path) -> None:
    """An export that could not be imported is refused."""
    with pytest.raises(InterchangeError, match="empty"):
        export_dataset(_made({}), tmp_path / "out", name)


def test_texts_that_look_like_numbers_before_a_step_are_texts(tmp_path: Path) -> None:
    """A column of a CSV file has the type of that with the values after the step."""
    (tmp_path / "t.csv").write_text("observation.t,next_observation.t,action,reward,done\n7,x,0.5,1,1\n")
    (episode,) = read(tmp_path / "t.csv").episodes
    assert isinstance(episode, EpisodeBuffer)
    assert list(episode.observations["t"]) == ["7", "x"]


def _d4rl(path: Path, **columns: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in {
            "observations": np.zeros((3, 2)),
            "next_observations": np.zeros((3, 2)),
            "actions": np.zeros((3, 1)),
            "rewards": np.zeros(3),
            "terminals": np.zeros(3, bool),
            "timeouts": np.array([False, False, True]),
            **columns,
        }.items():
            file.create_dataset(name, data=values, chunks=True, compression="gzip")
    return path


@pytest.mark.parametrize(
    "columns",
    [
        {"observations": np.zeros((3, 2), complex), "next_observations": np.zeros((3, 2), complex)},
        {"next_observations": np.zeros((3, 4))},
        {"rewards": np.array(["a", "b", "c"], "S1")},
        {"timeouts": np.zeros((3, 2**20))},
    ],
)
def test_values_that_fit_no_dataset_are_refused(columns: dict[str, Any], tmp_path: Path) -> None:
    """An import raises the error of the formats, not that of the storage, and reads no more than it needs."""
    path = _d4rl(tmp_path / "x.hdf5", **columns)
    outcome = run_limited(lambda: import_dataset(path, "hostile/x-v0", "d4rl", root=tmp_path), seconds=60)
    assert (outcome.error, "\n" in outcome.text.partition("\nTraceback")[0]) == ("InterchangeError", False), outcome
    assert outcome.peak < 16 * MEGABYTE


def test_values_from_data_do_not_break_a_message(tmp_path: Path) -> None:
    """An array or a long name in a message stays one line of bounded length."""
    path = tmp_path / "x.hdf5"
    export_dataset(_made({"a": _box(2)}), path, "robomimic")
    with h5py.File(path, "r+") as file:
        file["data/demo_0"].attrs["num_samples"] = np.zeros((2, 2))
    with pytest.raises(InterchangeError) as raised:
        list(read(path, "robomimic").episodes)
    assert "\n" not in str(raised.value)
    with pytest.raises(InterchangeError) as raised, damage_as_error(path):
        raise InterchangeError("x" * 5000)
    assert len(str(raised.value)) <= 1000


def test_a_line_of_nothing_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A file of RLlib with gigabytes of NUL bytes is refused at the first of them."""
    path = tmp_path / "x.json"
    path.write_text('{"type": "SampleBatch", "obs": [[0.0]]}')
    os.truncate(path, 2**31)
    outcome = run_limited(lambda: list(read(path, "rllib").episodes), seconds=60)
    assert outcome.error == "InterchangeError"
    assert outcome.peak < 64 * MEGABYTE


def test_a_description_without_splits_is_damaged(tmp_path: Path) -> None:
    """A file that names no split is at fault, and not the option."""
    export_dataset(_made(_box(2)), tmp_path / "out", "rlds")
    info = tmp_path / "out" / "dataset_info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "splits": []}))
    with pytest.raises(InterchangeError, match="names no split"):
        read(tmp_path / "out", "rlds")


def test_the_order_of_unfinished_episodes_is_reported(tmp_path: Path) -> None:
    """RLlib's files are read in the order in which episodes end."""
    report = export_dataset(_made(_box(2), ends=((), (2,))), tmp_path / "out", "rllib")
    assert any("order" in sentence for sentence in report.missing)


@pytest.mark.parametrize("path", ["", "a\0b", "a\udc80.csv"])
def test_paths_that_not_all_libraries_take_are_refused(path: str) -> None:
    """A path that is empty or no UTF-8 is one clear error for every format."""
    with pytest.raises(ArgumentError, match="path"):
        export_dataset(_made(_box(2)), path, "csv")
    with pytest.raises(MinariError):
        import_dataset(path, "hostile/y-v0", "csv")


def test_an_export_that_is_ended_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM during a command removes what is half written."""
    _made(_box(2))

    def ended(*_: Any, **__: Any) -> Any:
        assert next(tmp_path.glob(".*.partial/*")).is_file()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("minari.interchange.rllib._line", ended)
    with pytest.raises(SystemExit):
        run_export("hostile/x-v0", "rllib", str(tmp_path / "out.json"), [], dry_run=False, as_json=False, quiet=True)
    assert not [*tmp_path.glob("*out.json*")]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_several_columns_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    """A list of columns is given as JSON."""
    export_dataset(_made(_box(2)), tmp_path / "t.csv", "csv")
    run_import(
        [
            "csv",
            str(tmp_path / "t.csv"),
            '--observations=["observation_1","observation_0"]',
            "--final-observation=repeat",
        ],
        "hostile/z-v0",
        None,
        None,
        None,
        {},
        dry_run=False,
        as_json=False,
        quiet=True,
    )
    assert minari.load_dataset("hostile/z-v0")[0].observations.shape == (4, 2)
