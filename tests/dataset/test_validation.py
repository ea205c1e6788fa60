"""Findings of the validation of a dataset, and repairs."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from minari.dataset import validation
from minari.dataset.minari_storage import MinariStorage
from minari.dataset.validation import Examined, Finding, ReadEpisode, RunningCheck, passes, repair, validate
from minari.errors import (
    ChecksumError,
    DataPathError,
    DatasetChangedError,
    DatasetCorruptError,
    DatasetIdError,
    DatasetNotFoundError,
)
from support.scripted import PLANE, buffer_of


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None", "ignore:.*assumed that")


FORMATS = ["hdf5"]
FORMATS += ["arrow", "parquet"] if importlib.util.find_spec("pyarrow") else []
FORMATS += ["zarr"] if importlib.util.find_spec("zarr") else []


def make(dataset_id: str = "toy/a-v0", data_format: str = "hdf5", **changes: Any) -> minari.MinariDataset:
    """Make a dataset of five episodes of four steps."""
    arrays = {
        "observations": np.arange(50.0).reshape(25, 2),
        "actions": np.linspace(0, 1, 20),
        "rewards": np.arange(20.0),
        "terminations": np.arange(20) % 4 == 3,
    }
    return minari.create_dataset_from_arrays(dataset_id, **{**arrays, **changes}, data_format=data_format)  # type: ignore[arg-type]


def kinds(report: validation.Report) -> list[tuple[str, str, int | None]]:
    return [(finding.level, finding.kind, finding.episode) for finding in report.findings]


def change_metadata(dataset: minari.MinariDataset, **changes: Any) -> None:
    file = dataset.storage.data_path / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("data_format", FORMATS)
def test_sound_datasets_have_no_findings(data_format: str) -> None:
    make(data_format=data_format)
    report = validate("toy/a-v0")
    assert (report.ok, report.episodes, report.findings) == (True, 5, ())
    assert report.counts == {"error": 0, "warning": 0, "note": 0}
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True


def test_a_dataset_is_given_by_its_id_or_its_directory(datasets_root: Path, tmp_path: Path) -> None:
    directory = make().storage.data_path.parent
    for given in ("toy/a-v0", str(directory), directory, directory / "data"):
        assert validate(given).ok
    assert minari.validate("a-v0", root=datasets_root / "toy").ok
    for given, error in (
        ("toy/b-v0", DatasetNotFoundError),
        ("no id", DatasetIdError),
        (tmp_path / "nowhere", DataPathError),
        (tmp_path, DataPathError),
    ):
        with pytest.raises(error):
            validate(given)


@pytest.mark.parametrize("data_format", sorted({"hdf5", "arrow", "parquet"} & set(FORMATS)))
def test_wrong_totals_are_an_error_and_repaired(data_format: str) -> None:
    dataset = make(data_format=data_format)
    change_metadata(dataset, total_steps=21)
    assert kinds(validate("toy/a-v0")) == [("error", "totals", None)]
    assert repair("toy/a-v0") == ["Set total_steps to 20, which was 21."]
    assert validate("toy/a-v0").ok
    assert repair("toy/a-v0") == []
    assert dataset[4].observations.tolist() == np.arange(50.0).reshape(25, 2)[20:].tolist()


def test_a_wrong_size_is_a_note_and_repaired() -> None:
    change_metadata(make(), dataset_size=123.4)
    report = validate("toy/a-v0")
    assert (report.ok, kinds(report)) == (True, [("note", "size", None)])
    assert "which was 123.4" in repair("toy/a-v0")[0]
    assert not validate("toy/a-v0").findings


def test_columns_that_are_not_those_of_the_spaces_are_errors_and_another_dtype_a_note() -> None:
    dataset = make()

    def validated(space: spaces.Space[Any]) -> validation.Report:
        change_metadata(dataset, observation_space=minari.serialization.serialize_space(space))
        return validate("toy/a-v0")

    box = spaces.Box(-1, 1, (2,))
    report = validated(spaces.Dict({"x": box, "y": box}))
    assert not report.ok
    assert {finding.episode for finding in report.findings if finding.level == "error"} == set(range(5))
    report = validated(spaces.Box(-1, 1, (3,)))
    assert not report.ok
    assert {finding.leaf for finding in report.findings if finding.kind == "shape"} <= {"observations"}
    report = validated(box)
    assert report.ok
    assert [f for f in kinds(report) if f[1] == "dtype"] == [("note", "dtype", 0)]
    assert next(f for f in report.findings if f.kind == "dtype").count == 5


def test_flags_before_the_end_are_warnings() -> None:
    flags = {"terminations": [False, True, False], "truncations": [True, False, True]}
    collected_spaces = {"observation_space": PLANE, "action_space": spaces.Discrete(3)}
    minari.create_dataset_from_buffers("toy/a-v0", [buffer_of(3, **flags)], **collected_spaces)
    report = validate("toy/a-v0")
    assert report.ok
    assert [(f.level, f.kind, f.leaf) for f in report.findings] == [("warning", "flags", name) for name in flags]


@pytest.mark.parametrize("data_format", FORMATS)
def test_files_that_do_not_belong_are_told(data_format: str) -> None:
    data_path = make(data_format=data_format).storage.data_path
    (data_path / "notes.txt").touch()
    (data_path / ".staged").mkdir()
    (data_path / "\x1b[31m").touch()
    expected = [("note", "leftover"), ("warning", "foreign file"), ("warning", "foreign file")]
    if data_format in ("arrow", "parquet"):
        (data_path / "7").mkdir()
        expected.append(("note", "leftover"))
    report = validate("toy/a-v0")
    assert report.ok
    assert sorted((finding.level, finding.kind) for finding in report.findings) == sorted(expected)
    assert not any("\x1b" in finding.message for finding in report.findings)


def test_specs_that_cannot_be_parsed_are_warnings() -> None:
    change_metadata(make(), env_spec="{", eval_env_spec='{"id": 3}')
    assert kinds(validate("toy/a-v0")) == [("warning", "metadata", None)] * 2


# Values that are not those that were written


@pytest.fixture
def damage() -> Callable[[int], None]:
    """A function that changes a value of an episode of `toy/damaged-v0`; episode 1 has no checksums."""
    h5py = pytest.importorskip("h5py")
    file_path = make("toy/damaged-v0").storage.data_path / "main_data.hdf5"
    with h5py.File(file_path, "a") as file:
        del file["episode_1/rewards"]
        file["episode_1/rewards"] = np.ones((4, 1))

    def change(index: int) -> None:
        with h5py.File(file_path, "a") as file:
            file[f"episode_{index}/rewards"][2] = 7

    return change


def test_each_damaged_episode_is_reported_and_no_other(damage: Callable[[int], None]) -> None:
    damage(0)
    damage(3)
    assert not [finding for finding in validate("toy/damaged-v0").findings if finding.level == "error"]
    report = validate("toy/damaged-v0", checksums=True)
    assert (report.ok, report.episodes) == (False, 3)
    assert kinds(report) == [("note", "no checksums", None), ("error", "checksum", 0), ("error", "checksum", 3)]
    assert repair("toy/damaged-v0") == ["Made checksums of 1 episodes."]


def test_uploads_are_refused_where_values_are_damaged(damage: Callable[[int], None], tmp_path: Path) -> None:
    damage(2)
    remote = f"file://{tmp_path}"
    with pytest.raises(DatasetCorruptError, match=r"not uploaded.*verify=False"):
        minari.upload_dataset("toy/damaged-v0", remote=remote)
    assert not minari.list_remote_datasets(remote)
    minari.upload_dataset("toy/damaged-v0", remote=remote, verify=False)
    assert list(minari.list_remote_datasets(remote)) == ["toy/damaged-v0"]


def test_reads_are_verified_where_that_was_asked_for(damage: Callable[[int], None], datasets_root: Path) -> None:
    damage(2)
    assert len(minari.load_dataset("toy/damaged-v0")[2]) == 4
    for dataset in (
        minari.load_dataset("toy/damaged-v0", verify_checksums=True),
        minari.open_dataset(datasets_root / "toy" / "damaged-v0", verify_checksums=True),
    ):
        for view in (dataset, dataset[1:4], *(pickle.loads(pickle.dumps(part)) for part in (dataset, dataset[:3]))):
            with pytest.raises(ChecksumError):
                list(view.iterate_episodes([2]))
        assert len(next(iter(dataset.iterate_episodes([4])))) == 4


def test_further_checks_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    make()

    def whole(examined: Examined) -> Iterator[Finding]:
        yield Finding("note", "own", f"{examined.storage.total_episodes} episodes")

    def broken(examined: Examined, episode: ReadEpisode) -> Iterator[Finding]:
        if episode.index == 3:
            raise RuntimeError("of a check")
        yield from ()

    class Counting(RunningCheck):
        steps = 0

        def add(self, episode: ReadEpisode) -> None:
            self.steps += episode.length
            if episode.index == 4:
                raise KeyError("of another")

        def findings(self) -> Iterator[Finding]:
            yield Finding("warning", "own", f"{self.steps} steps")

    monkeypatch.setattr(passes, "DATASET_CHECKS", [whole])
    monkeypatch.setattr(passes, "EPISODE_CHECKS", [broken])
    monkeypatch.setattr(passes, "RUNNING_CHECKS", [Counting])
    report = validate("toy/a-v0")
    assert report.findings == (
        Finding("note", "own", "5 episodes"),
        Finding("error", "unreadable", "RuntimeError: 'of a check'", 3),
        Finding("error", "unreadable", "KeyError: \"'of another'\"", 4),
        Finding("warning", "own", "20 steps"),
    )


def test_a_report_holds_the_first_thousand_findings() -> None:
    arrays = {"observations": np.zeros((3000, 2)), "actions": np.zeros(1500), "rewards": np.ones(1500)}
    wide = minari.serialization.serialize_space(spaces.Dict({"x": spaces.Box(-1, 1, (2,))}))
    change_metadata(make(**arrays, terminations=np.ones(1500, np.bool_)), observation_space=wide)
    report = validate("toy/a-v0")
    assert report.counts["error"] > 1500
    assert max(Counter(finding.kind for finding in report.findings).values()) == 1000


def in_the_middle(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], times: int) -> None:
    """Let another program change the dataset the first times that the lengths of its episodes are read."""
    read, left = MinariStorage.get_episode_lengths, [None] * times

    def lengths(storage: MinariStorage, *arguments: Any) -> Any:
        found = read(storage, *arguments)
        if left:
            left.pop()
            with monkeypatch.context() as without:
                without.setattr(MinariStorage, "get_episode_lengths", read)
                change()
        return found

    monkeypatch.setattr(MinariStorage, "get_episode_lengths", lengths)


@pytest.mark.parametrize("data_format", FORMATS)
def test_episodes_appended_in_the_meantime_are_no_error(data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(data_format=data_format)
    buffer = EpisodeBuffer(
        observations=np.zeros((3, 2)), actions=[0, 1], rewards=[0, 1], terminations=[0, 1], truncations=[0, 0]
    )
    in_the_middle(monkeypatch, lambda: minari.load_dataset("toy/a-v0").update_dataset_from_buffer([buffer]), 2)
    assert validate("toy/a-v0").findings == ()
    assert minari.load_dataset("toy/a-v0").total_episodes == 7


@pytest.mark.parametrize("data_format", FORMATS)
def test_dataset_edited_in_the_meantime_is_read_again(data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(data_format=data_format)
    in_the_middle(monkeypatch, lambda: minari.edit_dataset("toy/a-v0", drop_episodes=[0]), 2)
    report = validate("toy/a-v0")
    assert (report.ok, report.findings, report.episodes) == (True, (), 3)
    minari.edit_dataset("toy/a-v0", episode_metadata={0: {"n": 1}})
    again = {"remove_episode_metadata": ["n"], "episode_metadata": {0: {"n": 1}}}
    in_the_middle(monkeypatch, lambda: minari.edit_dataset("toy/a-v0", **again), 100)
    with pytest.raises(DatasetChangedError, match=r"open it again\.$"):
        validate("toy/a-v0")


@pytest.mark.parametrize(
    ("key", "kind", "level"),
    [("dataset_size", "size", "note"), ("ref_min_score", "metadata", "warning"), ("ref_max_score", "metadata", None)],
)
def test_numbers_of_many_digits_are_compared(key: str, kind: str, level: str | None) -> None:
    dataset = make()
    change_metadata(dataset, **{"ref_min_score": 0, "ref_max_score": 1, key: 10**4000})
    findings = validate("toy/a-v0").findings
    assert [(finding.level, finding.kind) for finding in findings] == ([(level, kind)] if level else [])
    assert all(len(finding.message) < 300 for finding in findings)
