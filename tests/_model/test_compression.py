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
GZIP, LZF, ZSTD = Codec("gzip", 4), Codec("lzf"), Codec("zstd", 3)


@pytest.mark.parametrize(
    ("text", "codec"), [("gzip", Codec("gzip")), ("zstd:19", Codec("zstd", 19)), ("gzip:0", Codec("gzip", 0))]
)
def test_a_codec_is_a_name_and_a_level(text: str, codec: Codec) -> None:
    assert Codec.parse(text) == codec
    assert str(codec) == text


@pytest.mark.parametrize("text", ["", ":3", "gzip:", "gzip:fast", "gzip:-1", "gzip:1.5", 4, None, ("gzip", 4)])
def test_what_is_no_codec_is_refused_and_shown(text: Any) -> None:
    with pytest.raises(CompressionError, match="is not a codec") as caught:
        Codec.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("choice", "of_pixels", "of_state", "of_rewards"),
    [
        (None, GZIP, None, None),
        ("none", None, None, None),
        ("zstd:3", ZSTD, ZSTD, ZSTD),
        ({"rewards": "lzf"}, GZIP, None, LZF),
        ({"observations": "lzf"}, LZF, LZF, None),
        ({"observations": "lzf", "observations/pixels": "none"}, None, LZF, None),
        ({"observations/pixels": "gzip:9", "observations": "none"}, Codec("gzip", 9), None, None),
    ],
)
def test_the_longest_name_that_fits_a_column_counts(
    choice: Any, of_pixels: Any, of_state: Any, of_rewards: Any
) -> None:
    """Without one, frames are compressed and nothing else is; JPEG never is, as it would only grow."""
    compression = Compression(choice, frames=[PIXELS], frame_codec=GZIP, columns=COLUMNS)
    assert compression.codec_for(PIXELS) == of_pixels
    assert compression.codec_for(STATE) == of_state
    assert compression.codec_for(("rewards",)) == of_rewards
    assert compression.stored == choice
    assert {of_pixels, of_state, of_rewards} <= compression.codecs
    jpeg = Compression(choice, frames=[PIXELS], frame_codec=GZIP, columns=COLUMNS, encoded=[PIXELS])
    assert (jpeg.codec_for(PIXELS), jpeg.codec_for(STATE)) == (None, of_state)


def test_names_are_whole_parts_and_infos_need_not_be_known() -> None:
    columns = [("observations", "state"), ("observations", "state_more"), ("observations", 1)]
    choice = {"observations/state": "gzip", "observations/1": "lzf", "infos/camera": "lzf"}
    compression = Compression(choice, columns=columns)
    others = [("infos", "camera", "left"), ("infos", "other")]
    expected = [Codec("gzip"), None, LZF, LZF, None]
    assert [compression.codec_for(path) for path in columns + others] == expected


@pytest.mark.parametrize("name", ["pixels", "observations/pixel", "observations/pixels/0", "reward", ""])
def test_a_column_that_there_is_not_is_refused_with_those_that_there_are(name: str) -> None:
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
def test_codecs_that_a_format_lacks_are_refused(codec: Codec, message: str) -> None:
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
def test_frames_are_pictures_of_any_layout_that_are_not_tiny(space: spaces.Space[Any], expected: bool) -> None:
    (leaf,) = codec_for(space).leaves()
    assert is_frame(leaf) == expected


ARRAYS: dict[str, Any] = {
    "observations": np.arange(4.0),
    "actions": np.zeros(3),
    "rewards": np.ones(3),
    "terminations": np.array([False, False, True]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("choice", [None, "gzip:9", {"rewards": "gzip"}, "none"])
def test_the_choice_is_kept_and_protected(choice: Any) -> None:
    dataset = minari.create_dataset_from_arrays("toy/chosen-v0", **ARRAYS, compression=choice)
    for opened in (dataset, minari.load_dataset(dataset.id)):
        assert opened.storage.compression == choice
        assert opened.storage.metadata.get("compression") == choice
        assert ("compression" in opened.storage.metadata) == (choice is not None)
    with pytest.raises(MetadataError, match="protected"):
        dataset.storage.update_metadata({"compression": "lzf"})


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("choice", ["zip", {"observation": "gzip"}, "gzip:11"])
def test_a_mistaken_choice_is_refused_before_anything_is_made(choice: Any, tmp_path: Path) -> None:
    with pytest.raises(CompressionError):
        minari.create_dataset_from_arrays("toy/refused-v0", **ARRAYS, compression=choice)
    with pytest.raises(CompressionError):
        MinariStorage.new(tmp_path / "data", spaces.Discrete(2), spaces.Discrete(2), compression=choice)
    assert minari.list_local_datasets() == {}
    assert not (tmp_path / "data").exists()


def test_a_format_that_cannot_compress_says_so(tmp_path: Path) -> None:
    register_memory_storage()
    pair = spaces.Discrete(2), spaces.Discrete(2)
    with pytest.raises(CompressionError, match="'memory' has no codec 'gzip', expected one of 'none'"):
        MinariStorage.new(tmp_path / "a", *pair, data_format="memory", compression="gzip")
    MinariStorage.new(tmp_path / "b", *pair, data_format="memory", compression="none")
