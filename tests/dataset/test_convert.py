"""Datasets in one format after another: the same values and metadata, or nothing at all."""

from __future__ import annotations

import tracemalloc
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


@pytest.mark.parametrize("target", FORMATS)
@in_every_format
def test_every_format_is_converted_to_every_format(data_format: str, target: str) -> None:
    """Values, dtypes, seeds of any size, options, statistics, authors, specs, scores, keys of one's own."""
    require_format(target)
    original = make_rich("toy/rich-v0", data_format)
    copy = original.convert("far/away/copy-v3", target)
    for opened in (copy, minari.load_dataset("far/away/copy-v3")):
        assert opened.id == "far/away/copy-v3"
        assert opened.storage.FORMAT == opened.storage.metadata["data_format"] == target
        assert_rich(opened)
    assert_copy(copy.storage, original.storage)
    assert copy.storage.metadata["dataset_size"] > 0
    assert data_format == original.storage.FORMAT
    # It is extended like any other, and the original does not notice.
    copy.update_dataset_from_buffer([as_buffer(draw_truths()[0])])
    copy.storage.update_metadata({"note": "extended"})
    assert len(minari.load_dataset("far/away/copy-v3")) == len(original) + 1
    assert_rich(minari.load_dataset("toy/rich-v0"))


@in_every_format
def test_views_are_renumbered_and_hold_nothing_else(data_format: str) -> None:
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


def test_a_copy_in_another_root_has_its_namespaces_there(tmp_path: Path) -> None:
    original, other = make_rich("toy/rich-v0", "hdf5"), tmp_path / "other"
    copy = original.convert("a/b/copy-v0", root=other)
    assert_rich(copy)
    assert copy.storage.data_path == other / "a" / "b" / "copy-v0" / "data"
    assert (other / "a" / "b" / "namespace_metadata.json").exists()
    assert list(minari.list_local_datasets()) == ["toy/rich-v0"]
    minari.delete_dataset("a/b/copy-v0", root=other)
    assert minari.list_local_datasets(root=other) == {}


# Frames


def test_jpeg_does_not_degrade() -> None:
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
def test_frames_become_jpeg_or_stop_being_it_only_where_that_is_asked_for(data_format: str) -> None:
    original = make_rich("toy/rich-v0", data_format)
    lossy = original.convert("toy/lossy-v0", jpeg_encoding=True)
    assert lossy.storage.jpeg_encoding
    assert stored_jpeg(lossy.storage)
    assert_rich(lossy, pixels=False)
    assert not np.array_equal(lossy[0].observations["pixels"], original[0].observations["pixels"])
    exact = lossy.convert("toy/exact-v0", jpeg_encoding=False)
    assert not exact.storage.jpeg_encoding
    assert_copy(exact.storage, lossy.storage)
    assert_copy(lossy.convert("toy/same-v0", jpeg_encoding=True).storage, lossy.storage)
    assert not original.convert("toy/same-v1").storage.jpeg_encoding


# Compression


@in_every_format
def test_the_compression_stays_where_the_format_does(data_format: str) -> None:
    """With the same format and nothing said, the choice is that of the original; else it is what is said."""
    require_format(data_format)
    other = "memory" if data_format == "hdf5" else "hdf5"
    for name in ("none", *islice(installed_codecs(data_format), 1)):
        original = make_rich(f"toy/{name}-v0", data_format, compression=name)
        same = original.convert(f"toy/{name}-v1")
        plain = original.convert(f"toy/{name}-v2", other)
        again = plain.convert(f"toy/{name}-v3", data_format, compression=name)
        bare = original.convert(f"toy/{name}-v4", compression="none")
        assert [one.storage.compression for one in (same, plain, again, bare)] == [name, None, name, "none"]
        for one in (same, again, bare):
            assert_rich(one)


def test_compressed_chunks_are_copied_as_they_are() -> None:
    h5py = pytest.importorskip("h5py")

    def chunks(array: Any) -> list[tuple[Any, ...]]:
        places = [array.id.get_chunk_info(number) for number in range(array.id.get_num_chunks())]
        return [(place.chunk_offset, *array.id.read_direct_chunk(place.chunk_offset)) for place in places]

    original = make_rich("toy/rich-v0", "hdf5", compression="gzip:9")
    copy = original[[2, 4]].convert("toy/rich-v1")
    paths = [dataset.storage.data_path / "main_data.hdf5" for dataset in (original, copy)]
    with h5py.File(paths[0]) as source, h5py.File(paths[1]) as target:
        for one, other in ((2, 0), (4, 1)):
            found = chunks(source[f"episode_{one}/observations/pixels"])
            assert found == chunks(target[f"episode_{other}/observations/pixels"])
            assert found


# Failures leave nothing


@in_every_format
def test_what_makes_no_sense_is_refused_before_anything_is_written(data_format: str, datasets_root: Path) -> None:
    original = make_rich("toy/rich-v0", data_format)
    before = listing(datasets_root)
    for error, arguments in (
        (DatasetExistsError, {"dataset_id": "toy/rich-v0"}),
        (DatasetIdError, {"dataset_id": "toy/rich"}),
        (DatasetIdError, {"dataset_id": "../rich-v0"}),
        (UnknownFormatError, {"dataset_id": "new/space/copy-v0", "data_format": "csv"}),
        (CompressionError, {"dataset_id": "toy/copy-v0", "compression": "no-such"}),
        (CompressionError, {"dataset_id": "toy/copy-v0", "compression": {"observations": "no-such"}}),
        (CompressionError, {"dataset_id": "toy/copy-v0", "compression": {"observations/pixel": "none"}}),
    ):
        with pytest.raises(error) as caught:
            original.convert(**arguments)
        assert "\n" not in str(caught.value)
    with pytest.raises(EpisodeError, match="no episode"):
        original.filter_episodes(lambda _: False).convert("toy/empty-v0")
    assert listing(datasets_root) == before


def test_a_codec_whose_package_is_missing_is_named(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = make_rich("toy/rich-v0", "memory")

    def missing(codec: Codec) -> None:
        raise MissingDependencyError(f'The codec {codec} needs a package; run pip install "some-package".')

    monkeypatch.setattr(get_minari_storage("hdf5"), "check_codec", missing)
    before = listing(datasets_root)
    with pytest.raises(MissingDependencyError, match="some-package"):
        original.convert("toy/copy-v0", "hdf5", compression="gzip")
    assert listing(datasets_root) == before


class Counter:
    """Observer that adds up the reports of each task, and raises at a number if it is given one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.counts: dict[ProgressTask, int] = {}
        self.ended: list[ProgressTask] = []
        self.error = error

    def started(self, task: ProgressTask) -> None:
        self.counts[task] = 0

    def advanced(self, task: ProgressTask, amount: int) -> None:
        self.counts[task] += amount
        if self.error is not None and self.counts[task] >= 3:
            raise self.error

    def finished(self, task: ProgressTask) -> None:
        self.ended.append(task)


@in_every_format
@pytest.mark.parametrize("error", [DatasetCorruptError("damaged"), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_a_conversion_that_fails_on_the_way_leaves_nothing(
    data_format: str, error: BaseException, datasets_root: Path
) -> None:
    require_format(data_format)
    original = make_rich("toy/rich-v0", "memory")
    before = listing(datasets_root)
    with observe_progress(Counter(error)), pytest.raises(type(error)):
        original.convert("new/space/copy-v0", data_format)
    assert listing(datasets_root) == before


@pytest.mark.parametrize("data_format", [name for name in LASTING if name in ("hdf5", "arrow", "parquet")])
def test_a_damaged_source_leaves_nothing(data_format: str, datasets_root: Path) -> None:
    original = make_rich("toy/rich-v0", data_format, compression="none")
    directory = original.storage.data_path
    victim = directory / "main_data.hdf5" if data_format == "hdf5" else next((directory / "4").glob("part-0.*"))
    with victim.open("r+b") as file:
        file.truncate(victim.stat().st_size // 2)

    def visible() -> dict[str, Any]:  # readers may create and delete hidden files
        return {name: content for name, content in listing(datasets_root).items() if "/." not in f"/{name}"}

    before = visible()
    for target in filter(is_installed, LASTING):
        with pytest.raises((DatasetCorruptError, OSError)):
            minari.load_dataset("toy/rich-v0").convert("new/space/copy-v0", target)
    assert visible() == before


# On the way


@in_every_format
def test_progress_counts_the_episodes_of_the_view(data_format: str) -> None:
    original = make_rich("toy/rich-v0", data_format)
    for number, view in enumerate((original, original[[1, 3]])):
        observer = Counter()
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
def test_memory_is_bounded(data_format: str, target: str, size: float, count: int, limit: float) -> None:
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
