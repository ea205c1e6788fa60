"""Chunks of a Zarr store, compressed and decompressed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")

from minari._storages.zarr.codecs import checksum, decode, encoded
from minari._storages.zarr.shards import Budget
from minari.dataset.compression import Codec


VALUES = np.arange(1000.0)


@pytest.mark.parametrize("codec", ["zstd", "zstd:19", "blosc", "blosc:0", "gzip", "gzip:1"])
def test_what_is_compressed_comes_back(codec: str) -> None:
    content, out = encoded(Codec.parse(codec), VALUES), np.empty(VALUES.nbytes, np.uint8)
    decode(codec.partition(":")[0], content, out)
    assert np.array_equal(out.view("<f8"), VALUES)


@pytest.mark.parametrize("codec", ["zstd", "blosc", "gzip"])
@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "another codec", "too small", "too large"])
def test_what_is_damaged_is_refused(codec: str, damage: str) -> None:
    content = encoded(Codec(codec), VALUES)
    size = VALUES.nbytes + {"too small": -8, "too large": 8}.get(damage, 0)
    damaged = {
        "cut": content[:-5],
        "empty": b"",
        "longer": content + b"more",
        "another codec": encoded(Codec("gzip" if codec == "zstd" else "zstd"), VALUES),
    }.get(damage, content)
    with pytest.raises(ValueError, match=r"\w"):
        decode(codec, damaged, np.empty(size, np.uint8))


def test_frames_that_do_not_say_their_size(tmp_path: Path) -> None:
    """As a program writes them that does not know it yet; they are no larger than what they go into."""
    pyarrow = pytest.importorskip("pyarrow")
    file = tmp_path / "frame"
    with pyarrow.CompressedOutputStream(pyarrow.OSFile(str(file), "wb"), "zstd") as stream:
        stream.write(VALUES.tobytes())
    out = np.empty(VALUES.nbytes, np.uint8)
    decode("zstd", file.read_bytes(), out)
    assert np.array_equal(out.view("<f8"), VALUES)
    for size in (800, 8800):
        with pytest.raises(ValueError, match="decompress"):
            decode("zstd", file.read_bytes(), np.empty(size, np.uint8))


def test_checksum_is_that_of_zarr() -> None:
    assert checksum(b"123456789") == (0xE3069283).to_bytes(4, "little")  # the check value of CRC-32C
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == checksum(memoryview(b"123456789"))


def test_a_budget() -> None:
    budget = Budget(free=1000, per_byte=10)
    budget.take(900, 100, lambda: pytest.fail("nobody has to count"))  # what passes is given back
    budget = Budget(free=1000, per_byte=10)
    budget.take(900, 0, lambda: 50)
    budget.take(600, 0, lambda: 0)  # what was stored for the first counts
    with pytest.raises(ValueError, match="1,501 bytes are to be made of 50"):
        budget.take(1, 0, lambda: 0)
