"""Conformance: compression changes only sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
from gymnasium import spaces

from minari._base.files import METADATA_FILE_NAME
from minari._model.compression import NONE, Codec, Codecs
from minari._storages.base import MinariStorage
from minari._storages.registry import get_minari_storage
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import CompressionError, MetadataError, MissingDependencyError, UnknownFormatError
from minari.testing.comparison import assert_arrays, assert_metadata
from minari.testing.examples import SPACES, Truth, as_buffer, as_continuation, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, Suite, refused


_PIXELS = spaces.Box(0, 255, (40, 36, 3), np.uint8)
_STATE = spaces.Dict({"pixels": _PIXELS, "n": spaces.Box(-9.0, 9.0, (3,), np.float32), "t": spaces.Text(4)})
_KINDS = (
    *("box-float16", "box-uint64", "box-bool", "box-0d", "box-empty-inside", "box-unbounded", "discrete-start"),
    *("multi-binary-matrix", "text-unicode", "dict-slash", "tuple", "sequence", "sequence-of-dicts", "graph", "one-of"),
)
_EVERYTHING = spaces.Dict(
    {"pixels": _PIXELS, "stack": spaces.Box(0, 9, (4, 32, 32), np.uint8), **{name: SPACES[name] for name in _KINDS}}
)
_PLAIN = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (2, 3), np.float64), "bits": spaces.MultiBinary(3)})

#: Minimum compression ratios of identical frames, and of constant columns.
_WORTHWHILE = 4


def _storage_type(suite: type[Suite]) -> type[MinariStorage]:
    return get_minari_storage(suite.data_format)


def _codecs(suite: type[Suite]) -> Codecs:
    try:
        return _storage_type(suite).CODECS
    except (MissingDependencyError, UnknownFormatError):
        return {}  # the tests need the format itself, and report what is missing


def _names(suite: type[Suite]) -> list[str]:
    """Return every codec of the format, including none."""
    return [NONE, *_codecs(suite)]


def _choices(suite: type[Suite]) -> list[str]:
    """Return every codec of the format, with its default, lowest and highest level."""
    codecs = _codecs(suite)
    ends = {name: [] if levels is None else [levels.start, levels.stop - 1] for name, levels in codecs.items()}
    return [NONE, *(str(Codec(name, level)) for name in codecs for level in [None, *ends[name]])]


class CompressionSuite(Suite):
    """Compressed data is restored unchanged; invalid choices are rejected."""

    cases: ClassVar[dict[str, Any]] = {"choice": _choices, "codec": _names}

    def test_values_of_every_kind(self, tmp_path: Path, codec: str) -> None:
        """Store frames, numbers, flags, text and ragged spaces, in observations, actions and infos."""
        self._require(codec)
        pair = _EVERYTHING, _STATE
        storage = self.new(tmp_path, *pair, compression=codec)
        truths = _of_everything()
        storage.update_episodes([as_buffer(truth, seed=2**63, options={"o": np.arange(3)}) for truth in truths[:2]])
        self._assert_chosen(storage, codec)
        MinariStorage.read(storage.data_path).update_episodes(map(as_buffer, truths[2:]))
        self.assert_holds(storage, truths, *pair)
        assert_arrays(MinariDataset(storage))
        self._assert_chosen(storage, codec)
        for metadata in storage.get_episode_metadata([0, 1]):
            assert_metadata(metadata, {"seed": 2**63, "options": {"o": np.arange(3)}})

    def test_lengths(self, tmp_path: Path, choice: str) -> None:
        """Store episodes of one step and of many, around block sizes, some of them extended."""
        self._require(choice)
        pair = _PLAIN, ACTIONS
        storage = self.new(tmp_path, *pair, compression=choice)
        truths = [_with_flat_infos(draw_truth(*pair, length, length)) for length in (1, 2, 63, 64, 65, 1000, 3)]
        storage.update_episodes(map(as_buffer, truths))
        self.assert_holds(storage, truths, *pair)
        for index in (0, 3, 5):
            more = _with_flat_infos(draw_truth(*pair, 65, 7 + index))
            truths[index], further = as_continuation(truths[index], more, index, *pair)
            MinariStorage.read(storage.data_path).update_episodes([further])
        self.assert_holds(storage, truths, *pair)
        assert_arrays(MinariDataset(storage))

    def test_without_a_choice(self, tmp_path: Path) -> None:
        """Use the default, which is not recorded in the metadata."""
        storage = self.new(tmp_path, _EVERYTHING, _STATE)
        truths = _of_everything()
        storage.update_episodes(map(as_buffer, truths))
        self.assert_holds(storage, truths, _EVERYTHING, _STATE)
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert opened.compression is None
            assert "compression" not in opened.metadata

    def test_some_columns(self, tmp_path: Path) -> None:
        """Choose codecs for columns or groups of columns; a format may not support different ones."""
        truths = _of_state()
        for codec in list(_available(_storage_type(type(self)))) or [NONE]:
            choice = {
                "observations": codec,
                "observations/t": NONE,
                "rewards": codec,
                "actions": NONE,
                "infos/a": codec,
            }
            directory = tmp_path / codec.replace(":", "-")
            try:
                storage = MinariStorage.new(
                    directory, _STATE, ACTIONS, data_format=self.data_format, compression=choice
                )
            except CompressionError:
                assert codec != NONE, "to compress nothing is possible everywhere"
                assert not directory.exists()
                continue
            storage.update_episodes(map(as_buffer, truths))
            self.assert_holds(storage, truths, _STATE, ACTIONS)
            self._assert_chosen(storage, choice)

    def test_copies(self, tmp_path: Path) -> None:
        """Copy between storages with different compressions: values and metadata stay the same."""
        pair = _STATE, ACTIONS
        truths = _of_state()
        choices = [None, NONE, *islice(_available(_storage_type(type(self))), 2)]
        for source_choice, choice in zip(choices, [*choices[1:], None], strict=True):
            source = self.new(tmp_path, *pair, compression=source_choice)
            source.update_episodes([as_buffer(truth, seed=4) for truth in truths])
            storage = self.new(tmp_path, *pair, compression=choice)
            storage.update_from_storage(source)
            storage.update_from_storage(source, [2, 0])
            storage.update_episodes([as_buffer(truths[1], seed=4)])
            self.assert_holds(storage, [*truths, truths[2], truths[0], truths[1]], *pair)
            assert [metadata["seed"] for metadata in storage.get_episode_metadata(range(6))] == [4] * 6
            assert storage.compression == choice

    def test_appending_follows_the_choice(self, tmp_path: Path) -> None:
        """Constant columns become small, including those appended later."""
        space = spaces.Box(-9.0, 9.0, (64,), np.float64)
        column = np.full((1001, 64), np.pi)
        truth = {**self.draw(1000, 0), "observations": column}
        for choice in _available(_storage_type(type(self))):
            storage = self.new(tmp_path, space, compression=choice)
            for call in (1, 2):
                MinariStorage.read(storage.data_path).update_episodes([as_buffer(truth)])
                assert _bytes_of(storage) < call * column.nbytes / _WORTHWHILE, f"{choice} does not compress"

    def test_frames_are_compressed_unless_told_otherwise(self, tmp_path: Path) -> None:
        """Identical frames take little more space than a few of them, in a format that can compress."""
        if _storage_type(type(self)).FRAME_CODEC is None:
            raise SkipTest(f"the format {self.data_format!r} does not compress frames by itself")
        picture = np.random.default_rng(0).integers(0, 255, _PIXELS.shape, dtype=np.uint8)
        truth = {**self.draw(63, 0), "observations": np.repeat(picture[None], 64, axis=0)}
        sizes = {}
        for choice in (None, NONE):
            storage = self.new(tmp_path, _PIXELS, compression=choice)
            storage.update_episodes([as_buffer(truth)])
            self.assert_holds(storage, [truth], _PIXELS)
            sizes[choice] = _bytes_of(storage)
        assert sizes[None] < sizes[NONE] / _WORTHWHILE, sizes

    def test_rewritten(self, tmp_path: Path) -> None:
        """Rewrite all episodes in place, with the previous or another compression."""
        pair = _STATE, ACTIONS
        truths = _of_state()
        storage = self.new(tmp_path, *pair)
        storage.update_episodes([as_buffer(truth, seed=5, options={"o": 1}) for truth in truths])
        storage.update_episode_metadata([{"mine": np.arange(3)}] * 3)
        storage.update_metadata({"note": "漢", "author": {"A", "B"}})
        for choice in (None, *islice(_available(_storage_type(type(self))), 2), NONE):
            MinariStorage.read(storage.data_path).repack(compression=choice)
            storage.repack()
            self.assert_holds(storage, truths, *pair)
            assert storage.compression == choice
            assert (storage.metadata["note"], storage.metadata["author"]) == ("漢", {"A", "B"})
            for metadata in storage.get_episode_metadata(range(3)):
                assert_metadata(metadata, {"seed": 5, "options": {"o": 1}, "mine": np.arange(3)})
        for wrong in self._wrong_choices():
            before = storage.metadata
            with refused(CompressionError):
                storage.repack(compression=wrong)
            assert storage.metadata == before
        storage.update_episodes([as_buffer(truths[0])])
        self.assert_holds(storage, [*truths, truths[0]], *pair)

    def test_what_is_refused(self, tmp_path: Path) -> None:
        """Reject unknown codecs, levels and columns, without creating or changing anything."""
        for wrong in self._wrong_choices():
            with refused(CompressionError):
                MinariStorage.new(tmp_path / "data", _STATE, ACTIONS, data_format=self.data_format, compression=wrong)
            assert not (tmp_path / "data").exists()
        storage = self.new(tmp_path, compression=NONE)
        before = (storage.data_path / METADATA_FILE_NAME).read_bytes()
        with refused(MetadataError, "'compression'"):
            storage.update_metadata({"compression": "gzip"})
        assert (storage.data_path / METADATA_FILE_NAME).read_bytes() == before

    def _wrong_choices(self) -> Iterator[Any]:
        yield from ("no-such-codec", "no-such-codec:3", "", ":", 3, {"observations": 3}, {"observations": "no-such"})
        yield from ({"observation": NONE}, {"observations/pixel": NONE}, {"pixels": NONE}, {"observations/n/0": NONE})
        for name, levels in _storage_type(type(self)).CODECS.items():
            too_high = 0 if levels is None else levels.stop
            yield from (f"{name}:{too_high}", f"{name}:", f"{name}:-1", f"{name}:1.5", {"rewards": f"{name}:{10**9}"})
            if levels is not None and levels.start > 0:
                yield f"{name}:{levels.start - 1}"

    def _require(self, choice: str) -> None:
        """Skip the test if the codec needs a package that is not installed."""
        if choice != NONE and choice.partition(":")[0] not in _available(_storage_type(type(self))):
            raise SkipTest(f"the codec {choice!r} needs a package that is not installed")

    def _assert_chosen(self, storage: MinariStorage, choice: str | dict[str, str]) -> None:
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert opened.compression == choice
            assert opened.metadata["compression"] == choice


def _available(storage_type: type[MinariStorage]) -> Iterator[str]:
    """Return the codecs of a format that can be used."""
    for name in storage_type.CODECS:
        try:
            storage_type.check_codec(Codec(name))
        except MissingDependencyError:
            continue
        yield name


def _bytes_of(storage: MinariStorage) -> int:
    files: Iterable[Path] = (file for file in storage.data_path.rglob("*") if not file.name.startswith("."))
    return sum(file.stat().st_size for file in files if file.is_file())


@cache
def _of_state() -> list[Truth]:
    return [_with_infos(draw_truth(_STATE, ACTIONS, length, length)) for length in (1, 64, 65)]


@cache
def _of_everything() -> list[Truth]:
    """Return episodes that are drawn once, since drawing takes longer than storing them."""
    return [_with_infos(draw_truth(_EVERYTHING, _STATE, length, length)) for length in (1, 2, 9)]


def _with_flat_infos(truth: Truth) -> Truth:
    rows = len(truth["rewards"]) + 1
    return {**truth, "infos": {"n": np.arange(rows, dtype=np.int16), "m": np.ones((rows, 2, 2), np.float32)}}


def _with_infos(truth: Truth) -> Truth:
    rows = len(truth["rewards"]) + 1
    frames = np.repeat(np.arange(rows, dtype=np.uint8), 32 * 32).reshape(rows, 32, 32)
    nested = {"flag": np.arange(rows) % 3 == 0, "name": np.array([f"n{row}" for row in range(rows)], object)}
    return {**truth, "infos": {"a": np.arange(rows) / 7, "frames": frames, "nested": nested}}
