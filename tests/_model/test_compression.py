"""The choice of a compression: how it is said, what it means, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._model.compression import Codec, Compression, check_codec, is_frame
from minari.dataset.minari_storage import MinariStorage
from minari.errors import CompressionError, MetadataError
from minari.spaces import codec_for
from minari.testing import register_memory_storage


PIXELS, STATE = ("observations", "pixels"), ("observations", "state")
COLUMNS = (PIXELS, STATE, ("actions",))
GZIP = Codec("gzip", 4)


def test_a_codec_and_its_level() -> None:
    """Both ways between the value and what people write."""
    for text, codec in (("gzip", Codec("gzip")), ("zstd:19", Codec("zstd", 19)), ("gzip:0", Codec("gzip", 0))):
        assert Codec.parse(text) == codec
        assert str(codec) == text


@pytest.mark.parametrize("text", ["", ":3", "gzip:", "gzip:fast", "gzip:-1", "gzip:1.5", 4, None, ("gzip", 4)])
def test_what_is_no_codec(text: Any) -> None:
    """Anything else is refused, and shown."""
    with pytest.raises(CompressionError, match="is not a codec") as caught:
        Codec.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "of_pixels", "of_state", "of_rewards"),
    [
        (None, GZIP, None, None),
        ("none", None, None, None),
        ("zstd:3", Codec("zstd", 3), Codec("zstd", 3), Codec("zstd", 3)),
        ({"rewards": "lzf"}, GZIP, None, Codec("lzf")),
        ({"observations": "lzf"}, Codec("lzf"), Codec("lzf"), None),
        ({"observations": "lzf", "observations/pixels": "none"}, None, Codec("lzf"), None),
        ({"observations/pixels": "gzip:9", "observations": "none"}, Codec("gzip", 9), None, None),
    ],
)
def test_what_a_choice_means(
    choice: Any, of_pixels: Codec | None, of_state: Codec | None, of_rewards: Codec | None
) -> None:
    """The longest name that fits a column counts; without one, frames are compressed and nothing else is."""
    compression = Compression(choice, frames=[PIXELS], frame_codec=GZIP, columns=COLUMNS)
    assert compression.codec_for(PIXELS) == of_pixels
    assert compression.codec_for(STATE) == of_state
    assert compression.codec_for(("rewards",)) == of_rewards
    assert compression.stored == choice
    assert {of_pixels, of_state, of_rewards} <= compression.codecs


def test_names_are_whole_parts() -> None:
    """A name is not taken for the beginning of another one."""
    columns = [("observations", "state"), ("observations", "state_more"), ("observations", 1)]
    compression = Compression({"observations/state": "gzip", "observations/1": "lzf"}, columns=columns)
    assert [compression.codec_for(path) for path in columns] == [Codec("gzip"), None, Codec("lzf")]


def test_infos_need_not_be_known() -> None:
    """The infos are not known in advance."""
    compression = Compression({"infos/camera": "gzip"}, columns=COLUMNS)
    assert compression.codec_for(("infos", "camera", "left")) == Codec("gzip")
    assert compression.codec_for(("infos", "other")) is None


def test_jpeg_is_never_compressed() -> None:
    """Encoded data would only grow."""
    compression = Compression("gzip", frames=[PIXELS], frame_codec=GZIP, columns=COLUMNS, encoded=[PIXELS])
    assert compression.codec_for(PIXELS) is None
    assert compression.codec_for(STATE) == Codec("gzip")


@pytest.mark.parametrize("name", ["pixels", "observations/pixel", "observations/pixels/0", "reward", ""])
def test_a_column_that_there_is_not(name: str) -> None:
    """Misspelled names are rejected immediately, with the existing ones."""
    with pytest.raises(CompressionError, match="no such column") as caught:
        Compression({name: "gzip"}, columns=COLUMNS)
    assert "'observations/pixels'" in str(caught.value)


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (Codec("zip"), "no codec 'zip', expected one of 'none', 'gzip', 'lzf'"),
        (Codec("gzip", 10), "the level 10, expected one from 0 to 9"),
        (Codec("lzf", 1), "the level 1, expected no level"),
    ],
)
def test_codecs_of_a_format(codec: Codec, message: str) -> None:
    """An unsupported codec is rejected with a list of the supported ones."""
    with pytest.raises(CompressionError, match=message):
        check_codec(codec, {"gzip": range(10), "lzf": None}, "hdf5")


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.Box(0, 255, (64, 64, 3), np.uint8), True),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), True),
        (spaces.Box(0, 9, (32, 32), np.uint8), True),
        (spaces.Box(0, 255, (31, 32), np.uint8), False),
        (spaces.Box(0, 255, (4096,), np.uint8), False),
        (spaces.Box(0, 255, (64, 64), np.int16), False),
        (spaces.MultiBinary([64, 64]), False),
    ],
)
def test_what_frames_are(space: spaces.Space[Any], expected: bool) -> None:
    """Pictures of any layout, but nothing that is tiny or no picture."""
    (leaf,) = codec_for(space).leaves()
    assert is_frame(leaf) == expected


ARRAYS: dict[str, Any] = {
    "observations": np.arange(4.0),
    "actions": np.zeros(3),
    "rewards": np.ones(3),
    "terminations": np.array([False, False, True]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_choice_is_kept_and_protected() -> None:
    """It is part of the metadata where it was made, and cannot be changed there."""
    plain = minari.create_dataset_from_arrays("toy/plain-v0", **ARRAYS)
    assert plain.storage.compression is None
    assert "compression" not in plain.storage.metadata
    for number, choice in enumerate(["gzip:9", {"rewards": "gzip"}, "none"]):
        dataset = minari.create_dataset_from_arrays(f"toy/chosen-v{number}", **ARRAYS, compression=choice)
        for opened in (dataset, minari.load_dataset(dataset.id)):
            assert opened.storage.compression == choice
            assert opened.storage.metadata["compression"] == choice
        with pytest.raises(MetadataError, match="protected"):
            dataset.storage.update_metadata({"compression": "lzf"})
    with pytest.raises(MetadataError, match="protected"):
        plain.storage.update_metadata({"compression": "lzf"})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A mistake in the choice leaves nothing behind."""
    for choice in ("zip", {"observation": "gzip"}, "gzip:11"):
        with pytest.raises(CompressionError):
            minari.create_dataset_from_arrays("toy/refused-v0", **ARRAYS, compression=choice)
        with pytest.raises(CompressionError):
            MinariStorage.new(tmp_path / "data", spaces.Discrete(2), spaces.Discrete(2), compression=choice)
    assert minari.list_local_datasets() == {}
    assert not (tmp_path / "data").exists()


def test_a_format_that_cannot_compress(tmp_path: Path) -> None:
    """It says so; to compress nothing is always possible."""
    register_memory_storage()
    pair = spaces.Discrete(2), spaces.Discrete(2)
    with pytest.raises(CompressionError, match="'memory' has no codec 'gzip', expected one of 'none'"):
        MinariStorage.new(tmp_path / "a", *pair, data_format="memory", compression="gzip")
    MinariStorage.new(tmp_path / "b", *pair, data_format="memory", compression="none")
