"""Findings of the validation of a dataset, and repairs."""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.dataset import validation
from minari.dataset.validation import Examined, Finding, repair, validate
from minari.errors import ChecksumError, DataPathError, DatasetCorruptError, DatasetIdError, DatasetNotFoundError


FORMATS = ["hdf5"]
FORMATS += ["arrow", "parquet"] if importlib.util.find_spec("pyarrow") else []
FORMATS += ["zarr"] if importlib.util.find_spec("zarr") else []


def make(dataset_id: str = "toy/a-v0", data_format: str = "hdf5", **changes: Any) -> minari.MinariDataset:
    """Make a dataset of five episodes of four steps."""
    arrays = {
        "observations": np.arange(50.0).reshape(25, 2),
        "actions": np.zeros(20),
        "rewards": np.ones(20),
        "terminations": np.arange(20) % 4 == 3,
    }
    return minari.create_dataset_from_arrays(dataset_id, **{**arrays, **changes}, data_format=data_format)  # type: ignore[arg-type]


def kinds(report: validation.Report) -> list[tuple[str, str, int | None]]:
    return [(finding.level, finding.kind, finding.episode) for finding in report.findings]


def change_metadata(dataset: minari.MinariDataset, **changes: Any) -> None:
    file = dataset.storage.data_path / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("data_format", FORMATS)
def test_sound_datasets(data_format: str) -> None:
    make(data_format=data_format)
    report = validate("toy/a-v0")
    assert (report.ok, report.episodes, report.findings) == (True, 5, ())
    assert report.counts == {"error": 0, "warning": 0, "note": 0}
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True


def test_a_dataset_is_given_by_its_id_or_its_directory(datasets_root: Path, tmp_path: Path) -> None:
    make()
    directory = datasets_root / "toy" / "a-v0"
    for given in ("toy/a-v0", str(directory), directory, directory / "data"):
        assert validate(given).ok
    assert minari.validate("a-v0", root=datasets_root / "toy").ok
    with pytest.raises(DatasetNotFoundError, match="toy/b-v0"):
        validate("toy/b-v0")
    with pytest.raises(DatasetIdError):
        validate("no id")
    with pytest.raises(DataPathError):
        validate(tmp_path / "nowhere")
    with pytest.raises(DataPathError):
        validate(tmp_path)


def test_metadata_that_cannot_be_read_are_an_error_of_the_report() -> None:
    file = make().storage.data_path / "metadata.json"
    file.write_text("{")
    report = validate("toy/a-v0")
    assert (report.ok, report.episodes, kinds(report)) == (False, 0, [("error", "unreadable", None)])


@pytest.mark.parametrize("data_format", sorted({"hdf5", "arrow", "parquet"} & set(FORMATS)))
def test_totals_that_are_not_those_of_the_episodes(data_format: str) -> None:
    dataset = make(data_format=data_format)
    change_metadata(dataset, total_steps=21)
    assert kinds(validate("toy/a-v0")) == [("error", "totals", None)]
    assert repair("toy/a-v0") == ["Set total_steps to 20, which was 21."]
    assert validate("toy/a-v0").ok
    assert repair("toy/a-v0") == []
    assert dataset[4].observations.tolist() == np.arange(50.0).reshape(25, 2)[20:].tolist()


def test_a_size_that_is_not_that_of_the_files() -> None:
    change_metadata(make(), dataset_size=123.4)
    report = validate("toy/a-v0")
    assert (report.ok, kinds(report)) == (True, [("note", "size", None)])
    assert "which was 123.4" in repair("toy/a-v0")[0]
    assert not validate("toy/a-v0").findings


def test_columns_that_are_not_those_of_the_spaces() -> None:
    dataset = make()
    wider = spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "y": spaces.Box(-1, 1, (2,))})
    change_metadata(dataset, observation_space=minari.serialization.serialize_space(wider))
    report = validate("toy/a-v0")
    assert not report.ok
    assert {finding.episode for finding in report.findings if finding.level == "error"} == set(range(5))
    change_metadata(dataset, observation_space=minari.serialization.serialize_space(spaces.Box(-1, 1, (3,))))
    report = validate("toy/a-v0")
    assert not report.ok
    assert {finding.leaf for finding in report.findings if finding.kind == "shape"} <= {"observations"}


def test_another_dtype_is_a_note() -> None:
    change_metadata(make(), observation_space=minari.serialization.serialize_space(spaces.Box(-1, 1, (2,), np.float32)))
    report = validate("toy/a-v0")
    assert report.ok
    assert kinds(report) == [("note", "dtype", episode) for episode in range(5)]


def test_flags_before_the_end() -> None:
    buffer = minari.data_collector.EpisodeBuffer(
        observations=np.zeros((4, 2)), actions=np.zeros(3), rewards=[0.0] * 3,
        terminations=[False, True, False], truncations=[True, False, True],
    )  # fmt: skip
    space = spaces.Box(-1, 1, (2,), np.float64)
    minari.create_dataset_from_buffers(
        "toy/a-v0", [buffer], observation_space=space, action_space=spaces.Box(-1, 1, (), np.float64)
    )
    report = validate("toy/a-v0")
    assert report.ok
    assert [(f.level, f.kind, f.leaf) for f in report.findings] == [
        ("warning", "flags", "terminations"),
        ("warning", "flags", "truncations"),
    ]


@pytest.mark.parametrize("data_format", FORMATS)
def test_files_that_do_not_belong(data_format: str) -> None:
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


def test_specs_that_cannot_be_parsed() -> None:
    change_metadata(make(), env_spec="{", eval_env_spec='{"id": 3}')
    assert kinds(validate("toy/a-v0")) == [("warning", "metadata", None)] * 2


# Damage that a format finds, with a format that finds what it is asked to


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Episodes whose values are not those that were written; HDF5 reads several together and finds it late."""
    found: set[int] = set()
    storage_type = type(make("toy/damaged-v0").storage)
    read = storage_type._read_columns

    def read_columns(self: Any, indices: Iterable[int]) -> Iterator[Any]:
        asked = list(indices)
        if self.verify_checksums and found & set(asked[:4]):
            raise ChecksumError(f"The values of one of the episodes {asked[:4]} are not those that were written.")
        yield from read(self, asked[:4])
        if asked[4:]:
            yield from read_columns(self, asked[4:])

    monkeypatch.setattr(storage_type, "_read_columns", read_columns)
    monkeypatch.setattr(
        storage_type, "_episodes_without_checksums", lambda self, indices: [i for i in indices if i == 1]
    )
    return found


def test_each_damaged_episode_is_reported_and_no_other(damaged: set[int]) -> None:
    damaged |= {0, 3}
    assert not [finding for finding in validate("toy/damaged-v0").findings if finding.level == "error"]
    report = validate("toy/damaged-v0", checksums=True)
    assert (report.ok, report.episodes) == (False, 3)
    assert kinds(report) == [("note", "no checksums", None), ("error", "checksum", 0), ("error", "checksum", 3)]


def test_uploads_are_refused_where_values_are_damaged(damaged: set[int], tmp_path: Path) -> None:
    damaged.add(2)
    remote = f"file://{tmp_path}"
    with pytest.raises(DatasetCorruptError, match=r"not uploaded.*verify=False"):
        minari.upload_dataset("toy/damaged-v0", remote=remote)
    assert not minari.list_remote_datasets(remote)
    minari.upload_dataset("toy/damaged-v0", remote=remote, verify=False)
    assert list(minari.list_remote_datasets(remote)) == ["toy/damaged-v0"]


def test_reads_are_verified_where_that_was_asked_for(damaged: set[int], datasets_root: Path) -> None:
    damaged.add(2)
    assert len(minari.load_dataset("toy/damaged-v0")[2]) == 4
    for dataset in (
        minari.load_dataset("toy/damaged-v0", verify_checksums=True),
        minari.open_dataset(datasets_root / "toy" / "damaged-v0", verify_checksums=True),
    ):
        for view in (
            dataset,
            dataset[1:4],
            pickle.loads(pickle.dumps(dataset)),
            pickle.loads(pickle.dumps(dataset[:3])),
        ):
            with pytest.raises(ChecksumError):
                list(view.iterate_episodes([2]))
        assert len(next(iter(dataset.iterate_episodes([4])))) == 4


def test_missing_checksums_are_made(damaged: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(minari.load_dataset("toy/damaged-v0").storage), "_add_missing_checksums", lambda self: 1)
    assert repair("toy/damaged-v0") == ["Made checksums of 1 episodes."]


def test_further_checks_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    make()

    def whole(examined: Examined) -> Iterator[Finding]:
        yield Finding("note", "own", f"{examined.storage.total_episodes} episodes")

    def broken(examined: Examined, index: int, columns: Any) -> Iterator[Finding]:
        if index == 3:
            raise RuntimeError("of a check")
        yield from ()

    monkeypatch.setattr(validation, "DATASET_CHECKS", [whole])
    monkeypatch.setattr(validation, "EPISODE_CHECKS", [broken])
    report = validate("toy/a-v0")
    assert report.findings == (
        Finding("note", "own", "5 episodes"),
        Finding("error", "unreadable", "RuntimeError: 'of a check'", 3),
    )


def test_of_many_findings_a_report_holds_the_first_thousand() -> None:
    change_metadata(
        make(
            observations=np.zeros((3000, 2)), actions=np.zeros(1500), rewards=np.ones(1500),
            terminations=np.ones(1500, np.bool_),
        ),
        observation_space=minari.serialization.serialize_space(spaces.Box(-1, 1, (2,), np.float32)),
    )  # fmt: skip
    report = validate("toy/a-v0")
    assert (len(report.findings), report.counts["note"]) == (1000, 1500)
