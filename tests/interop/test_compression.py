"""Leaves that we compress, read, extended and combined by the released package, which knows nothing of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import minari
from minari._storages.hdf5.format import filters as hdf5_filters
from support.cases import PICTURES
from support.checks import assert_holds, forgotten


CASES = ["box-float64-matrix", "box-bool", "dict-nested", "tuple-of-dicts", "picture-small", *PICTURES]


@pytest.mark.parametrize("choice", [None, "gzip", "gzip:9", "lzf"])
@pytest.mark.parametrize("case", CASES)
def test_compressed_datasets(case: str, choice: str | None, reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back: values, lengths and metadata."""
    import h5py

    from support import operations

    monkeypatch.setattr(minari, "DataCollector", partial(minari.DataCollector, compression=choice))
    truth = operations.record("ours-v0", case, seed=1, infos=True, episode_length=40)
    file = minari.load_dataset("ours-v0").storage.data_path / "main_data.hdf5"
    with h5py.File(file) as opened:
        assert (opened["episode_0/rewards"].chunks is not None) == (choice is not None)
    assert_holds(operations.dump("ours-v0", case), truth)
    assert_holds(reference.dump("ours-v0", case), truth)

    truth += forgotten(reference.append("ours-v0", case, seed=10, infos=True, episode_length=40))
    assert_holds(operations.dump("ours-v0", case), truth)
    truth += operations.append("ours-v0", case, seed=20, infos=True, episode_length=40)
    assert_holds(reference.dump("ours-v0", case), truth)

    theirs = reference.record("theirs-v0", case, jpeg_encoding=False, seed=30, infos=True, episode_length=40)
    if case not in PICTURES:  # it would make them JPEG
        reference.combine(["ours-v0", "theirs-v0"], "by-them-v0")
        assert_holds(operations.dump("by-them-v0", case), forgotten(truth + theirs))
    operations.combine(["ours-v0", "theirs-v0"], "by-us-v0")
    assert_holds(reference.dump("by-us-v0", case), truth + theirs)
    assert_holds(operations.dump("by-us-v0", case), truth + theirs)


def test_frames_are_compressed_for_the_release_too(reference: Any) -> None:
    """With a filter that every HDF5 library has."""
    import h5py

    from support import operations

    truth = operations.record("ours-v0", "picture", seed=1, episode_length=40)
    with h5py.File(minari.load_dataset("ours-v0").storage.data_path / "main_data.hdf5") as file:
        properties = file["episode_0/observations"].id.get_create_plist()
        assert [properties.get_filter(i)[0] for i in range(properties.get_nfilters())] == [hdf5_filters.DEFLATE]
    assert_holds(reference.dump("ours-v0", "picture"), truth)
