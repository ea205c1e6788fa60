"""Datasets in one format after another: the same values and metadata, or nothing at all."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._storages.registry import get_minari_storage
from minari.dataset.compression import Codec
from minari.dataset.minari_storage import MinariStorage
from minari.errors import (
    CompressionError,
    DatasetCorruptError,
    DatasetExistsError,
    DatasetIdError,
    EpisodeError,
    MinariError,
    MissingDependencyError,
    UnknownFormatError,
)
from minari.progress import ProgressTask, observe_progress
from minari.testing.examples import as_buffer, draw_truth
from support.copies import (
    FORMATS,
    assert_copy,
    assert_rich,
    draw_truths,
    installed_codecs,
    is_installed,
    make_rich,
    require_format,
    stored_jpeg,
)
from support.scripted import listing


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

in_every_format = pytest.mark.parametrize("data_format", FORMATS)
#: Formats whose episodes are on disk.
LASTING = [name for name in FORMATS if name != "memory"]


class TestValues:
    @pytest.mark.parametrize("target", FORMATS)
    @in_every_format
    def test_every_format_to_every_format(self, data_format: str, target: str) -> None:
        """Values, dtypes, seeds of any size, options, statistics, authors, specs, scores, keys of one's own."""
        require_format(target)
        original = make_rich("toy/rich-v0", data_format)
        copy = original.convert("far/away/copy-v3", target)
        for opened in (copy, minari.load_dataset("far/away/copy-v3")):
            assert opened.id == "far/away/copy-v3"
            assert opened.storage.FORMAT == opened.storage.metadata["data_format"] == target
            assert_rich(opened)
            assert_copy(opened.storage, original.storage)
        assert copy.storage.metadata["dataset_size"] > 0
        assert_rich(original)
        assert data_format == original.storage.FORMAT

    @in_every_format
    def test_views(self, data_format: str) -> None:
        """Filtered, split, sliced, reordered and chosen episodes, renumbered; nothing of the others."""
        require_format(data_format)
        original = make_rich("toy/rich-v0", "hdf5")
        first, second = minari.split_dataset(original, [2, 3], seed=3)
        views = [
            original.filter_episodes(lambda episode: len(episode) > 2),
            original[[4, 0, 3]],
            original[::-2],
            first,
            second.filter_episodes(lambda episode: len(episode) < 65)[::-1],
            original[1:2],
        ]
        for number, view in enumerate(views):
            copy = view.convert(f"toy/view-v{number}", data_format)
            assert_rich(copy, [int(index) for index in view.episode_indices])
            assert copy.episode_indices.tolist() == list(range(len(view)))
        assert_rich(views[1].save("toy/saved-v0"), [4, 0, 3])

    def test_another_root(self, tmp_path: Path) -> None:
        """A dataset is created at the given root, with its namespaces."""
        original = make_rich("toy/rich-v0", "hdf5")
        copy = original.convert("a/b/copy-v0", root=tmp_path / "other")
        assert_rich(copy)
        assert copy.storage.data_path == tmp_path / "other" / "a" / "b" / "copy-v0" / "data"
        assert (tmp_path / "other" / "a" / "b" / "namespace_metadata.json").exists()
        assert list(minari.list_local_datasets()) == ["toy/rich-v0"]

    @in_every_format
    def test_extending_a_copy(self, data_format: str) -> None:
        """A copy takes further episodes and metadata like any other dataset, and the original does not notice."""
        require_format(data_format)
        original = make_rich("toy/rich-v0", "hdf5")
        copy = original.convert("toy/copy-v0", data_format)
        copy.update_dataset_from_buffer([as_buffer(draw_truths()[0])])
        copy.storage.update_metadata({"note": "extended"})
        assert len(minari.load_dataset("toy/copy-v0")) == len(original) + 1
        assert_rich(minari.load_dataset("toy/rich-v0"))


class TestFrames:
    def test_jpeg_does_not_degrade(self) -> None:
        """Ten conversions through all formats: the same JPEG, byte for byte, as it was at first."""
        dataset = make_rich("toy/jpeg-v0", "hdf5", jpeg_encoding=True)
        expected = stored_jpeg(dataset.storage)
        assert all(frame.startswith(b"\xff\xd8") for frames in expected for frame in frames)
        assert len(set(map(len, expected[0]))) > 1, "frames of several lengths"
        pixels = [episode.observations["pixels"] for episode in dataset]
        route = [name for name in (*FORMATS, *FORMATS, *FORMATS) if is_installed(name)][:10]
        for number, data_format in enumerate(route):
            dataset = dataset.convert(f"toy/jpeg-v{number + 1}", data_format)
            assert dataset.storage.jpeg_encoding
            assert stored_jpeg(dataset.storage) == expected
        assert_rich(dataset, pixels=False)
        for episode, frames in zip(dataset, pixels, strict=True):
            assert np.array_equal(episode.observations["pixels"], frames)

    @in_every_format
    def test_to_jpeg_and_back(self, data_format: str) -> None:
        """Frames become JPEG, or stop being it, where that is asked for, and then only."""
        original = make_rich("toy/rich-v0", data_format)
        lossy = original.convert("toy/lossy-v0", jpeg_encoding=True)
        assert lossy.storage.jpeg_encoding
        assert stored_jpeg(lossy.storage)
        assert_rich(lossy, pixels=False)
        (pixels, *_) = (episode.observations["pixels"] for episode in lossy)
        assert not np.array_equal(pixels, original[0].observations["pixels"])
        exact = lossy.convert("toy/exact-v0", jpeg_encoding=False)
        assert not exact.storage.jpeg_encoding
        assert_copy(exact.storage, lossy.storage)
        assert_copy(lossy.convert("toy/same-v0", jpeg_encoding=True).storage, lossy.storage)
        assert not original.convert("toy/same-v1").storage.jpeg_encoding


class TestCompression:
    @in_every_format
    def test_the_choice_stays_where_the_format_does(self, data_format: str) -> None:
        """With the same format and nothing said, the choice is that of the original; else it is what is said."""
        require_format(data_format)
        other = "memory" if data_format == "hdf5" else "hdf5"
        for name in ("none", *islice(installed_codecs(data_format), 1)):
            original = make_rich(f"toy/{name}-v0", data_format, compression=name)
            same = original.convert(f"toy/{name}-v1")
            assert same.storage.compression == name
            assert_rich(same)
            plain = original.convert(f"toy/{name}-v2", other)
            assert plain.storage.compression is None
            again = plain.convert(f"toy/{name}-v3", data_format, compression=name)
            assert again.storage.compression == name
            assert_rich(again)
            bare = original.convert(f"toy/{name}-v4", compression="none")
            assert bare.storage.compression == "none"
            assert_rich(bare)

    def test_stored_bytes_are_copied_as_they_are(self) -> None:
        """Compressed chunks go from file to file without being unpacked."""
        h5py = pytest.importorskip("h5py")
        original = make_rich("toy/rich-v0", "hdf5", compression="gzip:9")
        copy = original[[2, 4]].convert("toy/rich-v1")
        files = [h5py.File(dataset.storage.data_path / "main_data.hdf5") for dataset in (original, copy)]
        try:
            for source, target in ((2, 0), (4, 1)):
                names = [f"episode_{n}/observations/pixels" for n in (source, target)]
                chunks = [_chunks(file[name]) for file, name in zip(files, names, strict=True)]
                assert chunks[0] == chunks[1]
                assert chunks[0]
        finally:
            for file in files:
                file.close()

    @in_every_format
    def test_a_codec_that_the_target_has_not(self, data_format: str, datasets_root: Path) -> None:
        """Told before anything is written."""
        original = make_rich("toy/rich-v0", data_format)
        before = listing(datasets_root)
        for choice in ("no-such", {"observations": "no-such"}, {"observations/pixel": "none"}):
            with pytest.raises(CompressionError):
                original.convert("toy/copy-v0", compression=choice)
        assert listing(datasets_root) == before


class TestFailures:
    @in_every_format
    def test_ids_and_formats_that_make_no_sense(self, data_format: str, datasets_root: Path) -> None:
        original = make_rich("toy/rich-v0", data_format)
        before = listing(datasets_root)
        attempts: list[tuple[type[MinariError], Any]] = [
            (DatasetExistsError, {"dataset_id": "toy/rich-v0"}),
            (DatasetIdError, {"dataset_id": "toy/rich"}),
            (DatasetIdError, {"dataset_id": "../rich-v0"}),
            (UnknownFormatError, {"dataset_id": "new/space/copy-v0", "data_format": "csv"}),
        ]
        for error, arguments in attempts:
            with pytest.raises(error) as caught:
                original.convert(**arguments)
            assert "\n" not in str(caught.value)
        with pytest.raises(EpisodeError, match="no episode"):
            original.filter_episodes(lambda _: False).convert("toy/empty-v0")
        assert listing(datasets_root) == before

    def test_a_codec_whose_package_is_missing(self, datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        original = make_rich("toy/rich-v0", "memory")
        storage_type = get_minari_storage("hdf5")

        def missing(codec: Codec) -> None:
            raise MissingDependencyError(f'The codec {codec} needs a package; run pip install "some-package".')

        monkeypatch.setattr(storage_type, "check_codec", missing)
        before = listing(datasets_root)
        with pytest.raises(MissingDependencyError, match="some-package"):
            original.convert("toy/copy-v0", "hdf5", compression="gzip")
        assert listing(datasets_root) == before

    @in_every_format
    def test_a_source_that_fails_on_the_way(
        self, data_format: str, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Data copied before a failure is removed."""
        original = make_rich("toy/rich-v0", "memory")
        require_format(data_format)
        before = listing(datasets_root)
        read = type(original.storage)._read_columns
        for error in (DatasetCorruptError("damaged"), KeyboardInterrupt(), MemoryError()):

            def broken(self: Any, indices: Any, error: BaseException = error) -> Iterator[Any]:
                for number, episode in enumerate(read(self, indices)):
                    if number == 3:
                        raise error
                    yield episode

            with monkeypatch.context() as context:
                context.setattr(type(original.storage), "_read_columns", broken)
                with pytest.raises(type(error)):
                    original.convert("new/space/copy-v0", data_format)
            assert listing(datasets_root) == before

    @pytest.mark.parametrize("data_format", [name for name in LASTING if name in ("hdf5", "arrow", "parquet")])
    def test_a_source_that_is_damaged(self, data_format: str, datasets_root: Path) -> None:
        """Files that are cut off: the conversion says so and leaves nothing, to the same format or another."""
        original = make_rich("toy/rich-v0", data_format, compression="none")
        directory = original.storage.data_path
        victim = directory / "main_data.hdf5" if data_format == "hdf5" else next((directory / "4").glob("part-0.*"))
        with victim.open("r+b") as file:
            file.truncate(victim.stat().st_size // 2)
        before = _visible(datasets_root)
        for target in LASTING:
            if is_installed(target):
                with pytest.raises((DatasetCorruptError, OSError)):
                    minari.load_dataset("toy/rich-v0").convert("new/space/copy-v0", target)
        assert _visible(datasets_root) == before


class TestTheWay:
    @in_every_format
    def test_progress_is_told(self, data_format: str) -> None:
        """Episodes are counted up to their number, for a whole dataset and for a view of it."""
        original = make_rich("toy/rich-v0", data_format)
        for number, view in enumerate((original, original[[1, 3]])):
            observer = _Counter()
            with observe_progress(observer):
                view.convert(f"toy/copy-v{number}", "hdf5")
            (task,) = observer.counts
            assert (task.total, task.unit) == (len(view), "episodes")
            assert observer.counts[task] == len(view)
            assert observer.ended == [task]

    # The formats, and then the sizes: of an episode in MB; how many; maximum memory in MB.
    @pytest.mark.parametrize(
        ("data_format", "target", "size", "count", "limit"),
        [(*pair, 0.25, 160, 30) for pair in (("hdf5", "arrow"), ("arrow", "parquet"), ("parquet", "hdf5"))]
        + [
            # A shard of Zarr is put together in memory.
            pytest.param(source, target, 1.0, 400, 200 if "zarr" in (source, target) else 60, marks=pytest.mark.slow)
            for source in LASTING
            for target in LASTING
        ],
    )
    def test_memory_is_bounded(self, data_format: str, target: str, size: float, count: int, limit: float) -> None:
        """A dataset larger than what may be in memory goes from format to format."""
        require_format(data_format)
        require_format(target)
        width = 1024
        rows = int(size * 1e6 / width / 8)
        space = spaces.Box(-np.inf, np.inf, (width,), np.float64)
        storage_path = Path(minari.storage.get_dataset_path("toy/large-v0")) / "data"
        storage = MinariStorage.new(storage_path, space, spaces.Discrete(2), data_format=data_format)
        storage.update_metadata({"dataset_id": "toy/large-v0", "minari_version": "0.5.4"})
        block = np.random.default_rng(0).random((rows, width))
        truth = {**draw_truth(spaces.Discrete(2), spaces.Discrete(2), rows - 1), "observations": block}
        storage.update_episodes(as_buffer(truth, seed=number) for number in range(count))
        dataset = minari.load_dataset("toy/large-v0")
        tracemalloc.start()
        try:
            copy = dataset.convert("toy/large-v1", target)
            peak = tracemalloc.get_traced_memory()[1] / 1e6
        finally:
            tracemalloc.stop()
        assert copy.storage.get_size() > size * count * 0.8
        assert peak < limit, f"{peak:.0f} MB in memory, for {size * count:.0f} MB of episodes"
        assert np.array_equal(copy[count - 1].observations, block)


class _Counter:
    """Observer that adds up the reports of each task."""

    def __init__(self) -> None:
        self.counts: dict[ProgressTask, int] = {}
        self.ended: list[ProgressTask] = []

    def started(self, task: ProgressTask) -> None:
        self.counts[task] = 0

    def advanced(self, task: ProgressTask, amount: int) -> None:
        self.counts[task] += amount

    def finished(self, task: ProgressTask) -> None:
        self.ended.append(task)


def _chunks(dataset: Any) -> list[tuple[Any, ...]]:
    """The chunks of an array as they lie in the file."""
    places = [dataset.id.get_chunk_info(number) for number in range(dataset.id.get_num_chunks())]
    return [(place.chunk_offset, *dataset.id.read_direct_chunk(place.chunk_offset)) for place in places]


def _visible(directory: Path) -> dict[str, bytes | None]:
    """Return the content of a directory, without hidden files, which readers may create and delete."""
    found = listing(directory)
    return {name: content for name, content in found.items() if not any(p.startswith(".") for p in name.split("/"))}
