"""Chunks of a Zarr store, compressed and decompressed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minari._storages.zarr.shards import Budget
from minari.dataset.compression import Codec


codecs = pytest.importorskip("minari._storages.zarr.codecs", exc_type=ImportError)
VALUES = np.arange(1000.0)


@pytest.mark.parametrize("codec", ["zstd", "blosc", "gzip"])
def test_damaged_chunk_is_refused(codec: str) -> None:
    content, other = codecs.encoded(Codec(codec), VALUES), Codec("gzip" if codec == "zstd" else "zstd")
    sound = np.empty(VALUES.nbytes, np.uint8)
    codecs.decode(codec, content, sound)
    assert np.array_equal(sound.view("<f8"), VALUES)
    for damaged in (content[:-5], b"", content + b"more", codecs.encoded(other, VALUES)):
        with pytest.raises(ValueError, match=r"\w"):
            codecs.decode(codec, damaged, sound)
    for size in (VALUES.nbytes - 8, VALUES.nbytes + 8):
        with pytest.raises(ValueError, match=r"\w"):
            codecs.decode(codec, content, np.empty(size, np.uint8))


def test_frames_need_not_say_their_size(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    file, out = tmp_path / "frame", np.empty(VALUES.nbytes, np.uint8)
    with pyarrow.CompressedOutputStream(pyarrow.OSFile(str(file), "wb"), "zstd") as stream:
        stream.write(VALUES.tobytes())
    codecs.decode("zstd", file.read_bytes(), out)
    assert np.array_equal(out.view("<f8"), VALUES)
    for size in (800, 8800):
        with pytest.raises(ValueError, match="decompress"):
            codecs.decode("zstd", file.read_bytes(), np.empty(size, np.uint8))


def test_checksum_is_that_of_zarr() -> None:
    assert codecs.checksum(b"123456789") == (0xE3069283).to_bytes(4, "little")  # the check value of CRC-32C
    assert codecs.checksum(np.frombuffer(b"123456789", np.uint8)) == codecs.checksum(memoryview(b"123456789"))


def test_budget_limits_what_is_made_of_stored_bytes() -> None:
    budget = Budget(free=1000, per_byte=10)
    budget.take(900, 100, lambda: pytest.fail("nobody has to count"))  # what passes is given back
    budget = Budget(free=1000, per_byte=10)
    budget.take(900, 0, lambda: 50)
    budget.take(600, 0, lambda: 0)  # what was stored for the first counts
    with pytest.raises(ValueError, match="1,501 bytes are to be made of 50"):
        budget.take(1, 0, lambda: 0)


def test_noise_is_compressed_at_a_fast_level_and_repetitions_are_found() -> None:
    rng = np.random.default_rng(0)
    still = np.repeat(rng.integers(0, 248, (1, 84, 84, 3), np.uint8), 64, axis=0)
    noise = still + rng.integers(0, 8, still.shape, np.uint8)
    assert codecs.encoded(Codec("zstd", 7), noise) == codecs.encoded(Codec("zstd", 1), noise)
    assert len(codecs.encoded(Codec("zstd", 8), noise)) < len(codecs.encoded(Codec("zstd", 1), noise))
    assert len(codecs.encoded(Codec("zstd", 7), still)) < still.nbytes / 50
    for chunk in (noise, still):
        out = np.empty(chunk.nbytes, np.uint8)
        codecs.decode("zstd", codecs.encoded(Codec("zstd", 7), chunk), out)
        assert np.array_equal(out, chunk.reshape(-1))
