"""Leaves that we compress, read, extended and combined by the released package, which knows nothing of it."""

from __future__ import annotations

from typing import Any

import h5py
import pytest

import minari
from minari._storages.hdf5.format.codecs import DEFLATE
from support import operations
from support.cases import PICTURES
from support.checks import assert_holds, forgotten


CODECS: dict[str, list[str | None]] = {
    "hdf5": [None, "gzip", "gzip:9", "lzf"],
    "arrow": [None, "zstd:19", "lz4"],
    "parquet": [None, "zstd:19", "lz4", "gzip", "brotli", "snappy"],
}
COLUMNAR_CASES = ["dict-nested", *PICTURES]
CASES = ["box-float64-matrix", "box-bool", "tuple-of-dicts", "picture-small", *COLUMNAR_CASES]


@pytest.mark.parametrize(
    ("case", "data_format", "codec"),
    [
        (case, data_format, codec)
        for data_format, codecs in CODECS.items()
        for codec in codecs
        for case in (CASES if data_format == "hdf5" else COLUMNAR_CASES)
    ],
)
def test_compressed_datasets(case: str, data_format: str, codec: str | None, reference: Any) -> None:
    play = {"smooth_images": case in PICTURES, "episode_length": 40, "infos": data_format == "hdf5"}
    truth = operations.record("plain-v0", case, seed=1, **play)
    ours = minari.load_dataset("plain-v0").convert("ours-v0", data_format=data_format, compression=codec)
    if data_format == "hdf5":
        with h5py.File(ours.storage.data_path / "main_data.hdf5") as opened:
            assert (opened["episode_0/rewards"].chunks is not None) == (codec is not None)
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("ours-v0", case), truth)

    truth += reference.append("ours-v0", case, how="steps", seed=10, **play)
    truth += forgotten(reference.append("ours-v0", case, seed=20, **play))
    truth += operations.append("ours-v0", case, seed=30, **play)
    theirs = reference.record("theirs-v0", case, data_format=data_format, seed=40, **play)
    operations.combine(["ours-v0", "theirs-v0"], "by-us-v0")
    reference.combine(["ours-v0", "theirs-v0"], "by-them-v0")
    lossy = {("observations",): 4.0} if case in PICTURES else {}  # it makes JPEG of frames when it combines
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("ours-v0", case), truth)
        assert_holds(dump("by-us-v0", case), truth + theirs)
        assert_holds(dump("by-them-v0", case), forgotten(truth + theirs), lossy=lossy)


def test_frames_are_compressed_by_a_filter_that_every_hdf5_library_has(reference: Any) -> None:
    truth = operations.record("ours-v0", "picture", seed=1, episode_length=40)
    with h5py.File(minari.load_dataset("ours-v0").storage.data_path / "main_data.hdf5") as file:
        properties = file["episode_0/observations"].id.get_create_plist()
        assert [properties.get_filter(i)[0] for i in range(properties.get_nfilters())] == [DEFLATE]
    assert_holds(reference.dump("ours-v0", "picture"), truth)
