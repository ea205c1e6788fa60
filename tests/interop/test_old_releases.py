"""Datasets of old releases, converted for the current release, which cannot open most of them itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minari
from minari.data_collector import EpisodeBuffer
from support import operations
from support.checks import assert_holds, forgotten
from support.official import OfficialDataset, official_datasets


#: The mean error that JPEG makes of the random pixels of these frames.
LOSSY = {"toy-frames-v0": {("observations",): 60.0}, "toy-dict-v0": {("observations", "img"): 65.0}}

HDF5 = [official for official in official_datasets() if official.data_format == "hdf5"]
ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip(reason="no recorded datasets: set MINARI_FIXTURES"))
every_dataset = pytest.mark.parametrize("official", HDF5 or [ABSENT], ids=str)

CopyRelease = Callable[[str], Path]


def truth_of(official: OfficialDataset) -> list[dict[str, Any]]:
    # A combined dataset of these releases has lost its seeds.
    return forgotten(official.truth()) if official.combines else official.truth()


@every_dataset
def test_a_copy_we_save_is_read_by_the_release(
    official: OfficialDataset, copy_release: CopyRelease, reference: Any
) -> None:
    copy_release(official.release)
    operations.save_view(official.dataset_id, "passed-on-v0")
    truth, lossy = truth_of(official), LOSSY.get(official.name)
    ours, theirs = operations.dump("passed-on-v0"), reference.dump("passed-on-v0")
    assert_holds(ours, truth, lossy=lossy)
    assert_holds(theirs, truth, lossy=lossy)
    for key in ("algorithm_name", "author", "author_email", "code_permalink"):
        assert theirs["metadata"].get(key) == ours["metadata"].get(key)
    assert theirs["metadata"]["author"] == {"Fixture Author"}
    if "cartpole" in official.name:
        assert theirs["env_spec"]["id"] == "CartPole-v1"
        assert theirs["env_spec"]["max_episode_steps"] == 500


@every_dataset
def test_what_we_append_to_is_whole_afterwards(
    official: OfficialDataset, copy_release: CopyRelease, reference: Any
) -> None:
    """An old dataset grows by its own first episode; all that was there stays as it was."""
    copy_release(official.release)
    dataset = minari.load_dataset(official.dataset_id)
    truth, lossy = truth_of(official), LOSSY.get(official.name)
    first = truth[0]
    columns = {name: first[name] for name in operations.FIELDS} | {"infos": first["infos"] or None}
    dataset.update_dataset_from_buffer([EpisodeBuffer(seed=2**40, **columns)])
    truth = [*truth, {**first, "seed": 2**40}]
    assert_holds(operations.dump(official.dataset_id), truth, lossy=lossy)
    before_050 = official.version < (0, 5)
    raw_frames_read_as_jpeg = official.name == "toy-frames-v0" and official.version < (0, 5, 3)
    small_jpeg_read_as_raw = official.release == "0.5.3" and official.name == "toy-dict-v0"
    if not (before_050 or raw_frames_read_as_jpeg or small_jpeg_read_as_raw):
        assert_holds(reference.dump(official.dataset_id), truth, lossy=lossy)


@pytest.mark.parametrize("with_env_spec", [True, False], ids=["with-spec", "without-spec"])
@pytest.mark.parametrize("name", ["cartpole-random-v1", "toy-simpledict-v0", "toy-text-v0", "toy-frames-v0"])
def test_all_releases_combined_are_read_by_the_release(
    name: str, with_env_spec: bool, copy_release: CopyRelease, reference: Any
) -> None:
    """Like goes with like: releases before 0.5 could not record an environment without a spec."""
    ids, truth = [], []
    for official in (one for one in HDF5 if one.name == name):
        copy_release(official.release)
        if (minari.load_dataset(official.dataset_id).env_spec is not None) == with_env_spec:
            ids.append(f"release-{official.release.replace('.', '-')}-v0")
            operations.save_view(official.dataset_id, ids[-1])
            truth += official.truth()
    if not ids:
        pytest.skip("no such datasets")
    operations.combine(ids, "all-v0")
    for dump in (operations.dump("all-v0"), reference.dump("all-v0")):
        assert_holds(dump, truth, lossy=LOSSY.get(name))
        assert dump["combined_datasets"] == ids
