"""Files that are made and read through a template are the same as without it, and damage goes past no template."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minari._storages.arrow.templates import Template, Templates, Values, is_safe
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import SPACES, as_buffer, draw_truth


pa = pytest.importorskip("pyarrow")

from minari._storages.arrow import tables as arrow_tables  # noqa: E402
from minari._storages.arrow.files import ARROW, PARQUET  # noqa: E402


both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float64)
FLAG = spaces.Discrete(2)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the files read and written through a template."""
    counts = {"read": 0, "fill": 0}

    def counted(name: str) -> Any:
        original = getattr(Template, name)

        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return original(*arguments)

        return call

    for name in counts:
        monkeypatch.setattr(Template, name, counted(name))
    return counts


def without_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_tables, "template_of", lambda *arguments: None)


def new(directory: Path, data_format: str, space: Any, **options: Any) -> MinariStorage:
    return MinariStorage.new(directory, space, FLAG, data_format=data_format, **options)


@both_formats
@pytest.mark.parametrize("name", SPACES)
def test_files_are_the_same_with_templates_and_without(
    tmp_path: Path, data_format: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any space, repeated lengths have the values of each episode."""
    space = SPACES[name]
    truths = [draw_truth(space, FLAG, steps, number) for number, steps in enumerate((5, 5, 5, 9, 5, 9, 9, 5))]
    first, second = new(tmp_path / "first", data_format, space), new(tmp_path / "second", data_format, space)
    first.update_episodes(map(as_buffer, truths))
    with monkeypatch.context() as patch:
        without_templates(patch)
        second.update_episodes(map(as_buffer, truths))
        plain = list(second.get_episodes(range(len(truths))))
    for index in range(len(truths)):
        file = f"{index}/part-0.{data_format}"
        assert (first.data_path / file).read_bytes() == (second.data_path / file).read_bytes()
    for _ in range(2):
        for episode, without, truth in zip(first.get_episodes(range(len(truths))), plain, truths, strict=True):
            assert_episode(episode, space, FLAG, truth)
            assert_same(episode, without, "episode")


@both_formats
def test_templates_are_used_where_episodes_are_alike(tmp_path: Path, data_format: str, used: dict[str, int]) -> None:
    space = spaces.Dict({"a": VECTOR, "b": spaces.Tuple((spaces.MultiBinary(4), spaces.Box(0, 1, (), np.float32)))})
    infos = {"speed": np.arange(6.0), "deep": {"flag": np.ones((6, 2), np.bool_)}}
    truths = [draw_truth(space, FLAG, 5, seed, infos) for seed in range(6)]
    storage = new(tmp_path / "data", data_format, space)
    storage.update_episodes(map(as_buffer, truths))
    assert used["fill"] == 5  # the second one made the template, and was held against it
    used["read"] = 0
    for episode, truth in zip(storage.get_episodes(range(6)), truths, strict=True):
        assert_episode(episode, space, FLAG, truth)
    assert used["read"] == 6


@both_formats
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_bits(data_format: str, data: st.DataObject) -> None:
    """Not a number, minus zero, any pattern of flags, at lengths that fill bytes and do not."""
    rows = data.draw(st.integers(1, 19))
    dtype = data.draw(hnp.floating_dtypes(endianness="=", sizes=(32, 64)) | hnp.integer_dtypes(endianness="="))
    shape = data.draw(hnp.array_shapes(max_dims=2, max_side=3))
    files = PARQUET if data_format == "parquet" else ARROW

    def columns() -> tuple[Any, Any]:
        return data.draw(hnp.arrays(dtype, (rows, *shape))), data.draw(hnp.arrays(np.bool_, rows))

    def encode(numbers: Any, flags: Any) -> bytes:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), int(np.prod(shape)))
        encoded: bytes = files.encode(pa.table({"x": lists, "f": pa.array(flags)}), [None, None]).to_pybytes()
        return encoded

    first = encode(*columns())
    table = files.decode(first)
    places = files.places(first, [table["x"].chunk(0), table["f"].chunk(0)])
    assert places is not None
    (x, stored), (f, _) = places
    assert (stored is not None) == (data_format == "parquet" and dtype.itemsize < 4)  # for want of such types
    flag = np.dtype(np.bool_)
    values = [
        Values(("x",), x, (rows, *shape), stored or dtype, rows, dtype),
        Values(("f",), f, (rows,), flag, rows, flag),
    ]
    template = Template(first, values)
    numbers, flags = columns()
    second = encode(numbers, flags)
    assert template.fill({("x",): numbers, ("f",): flags}) == second
    assert template.fits(second)
    read = template.read(second)
    assert read["x",].tobytes() == numbers.tobytes()
    assert read["x",].dtype == dtype
    assert np.array_equal(read["f",], flags)


def outcome(storage: MinariStorage, part: Path) -> bytes | None:
    """The values of an episode, None where the file is refused."""
    try:
        (episode,) = storage.get_episodes([1])
    except DatasetCorruptError as error:
        if str(part) in str(error) or "Episode 1" in str(error):
            return None
        raise
    return b"".join(episode[name].tobytes() for name in ("observations", "actions", "rewards"))


@both_formats
def test_no_damage_goes_past_a_template(tmp_path: Path, data_format: str) -> None:
    """One wrong byte that is not a value's is noticed by the library of the format, or does not matter."""
    truths = [draw_truth(VECTOR, FLAG, 30, seed) for seed in range(3)]
    storage = new(tmp_path / "data", data_format, VECTOR)
    storage.update_episodes(map(as_buffer, truths))
    part = storage.data_path / "1" / f"part-0.{data_format}"
    content = part.read_bytes()
    values = {truth["rewards"].tobytes() for truth in truths}
    begin = next(content.index(each) for each in values if each in content)
    list(storage.get_episodes(range(3)))
    noticed = 0
    for place in [*range(0, begin, 7), *range(len(content) - 200, len(content))]:
        part.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        fresh = MinariStorage.read(storage.data_path)
        outcomes = [outcome(opened, part) for opened in (storage, fresh)]
        noticed += None in outcomes
        assert outcomes[0] == outcomes[1], place
    assert noticed > 20
    for length in (len(content) - 1, len(content) // 2, 0):
        part.write_bytes(content[:length])
        with pytest.raises(DatasetCorruptError, match=f"{part} cannot be read"):
            list(storage.get_episodes([1]))


@both_formats
def test_an_episode_that_is_replaced_by_one_of_the_same_size(tmp_path: Path, data_format: str) -> None:
    """The size of a file says nothing about its columns."""
    storage = new(tmp_path / "data", data_format, VECTOR)
    infos = [{"up": np.arange(5.0)}, {"on": np.arange(5.0)}]
    truths = [draw_truth(VECTOR, FLAG, 4, number, infos[number % 2]) for number in range(6)]
    storage.update_episodes(map(as_buffer, truths))
    sizes = {(storage.data_path / str(index) / f"part-0.{data_format}").stat().st_size for index in range(6)}
    assert len(sizes) == 1
    for _ in range(2):
        for episode, truth in zip(storage.get_episodes(range(6)), truths, strict=True):
            assert_episode(episode, VECTOR, FLAG, truth)
    shutil.copy(storage.data_path / "0" / f"part-0.{data_format}", storage.data_path / "1")
    (episode,) = storage.get_episodes([1])
    assert_episode(episode, VECTOR, FLAG, truths[0])


@both_formats
def test_values_that_decide_upon_their_type_make_no_template(tmp_path: Path, data_format: str) -> None:
    """Whole rewards are stored as float64 where they fit, and as they are where they do not."""
    storage = new(tmp_path / "data", data_format, VECTOR)
    rewards = [np.arange(3), np.arange(3) + 2**40, np.arange(3), np.array([2**62 + 1, 0, 1]), np.arange(3)]
    buffers = [
        EpisodeBuffer(
            observations=np.zeros((4, 3)),
            actions=np.zeros(3, np.int64),
            rewards=each,
            terminations=np.zeros(3, np.bool_),
            truncations=np.zeros(3, np.bool_),
        )
        for each in rewards
    ]
    storage.update_episodes(buffers)
    for episode, each in zip(storage.get_episodes(range(5)), rewards, strict=True):
        assert_same(episode["rewards"], each, "rewards")


@both_formats
def test_buffers_may_be_reused(tmp_path: Path, data_format: str) -> None:
    """Arrays passed to the storage are not accessed after it requests the next episode."""
    buffer = EpisodeBuffer(
        observations=np.zeros((4, 3)),
        actions=np.zeros(3, np.int64),
        rewards=np.zeros(3),
        terminations=np.zeros(3, np.bool_),
        truncations=np.zeros(3, np.bool_),
    )

    def filled() -> Iterator[EpisodeBuffer]:
        for number in range(300):
            buffer.observations[:] = number
            buffer.rewards[:] = number
            yield buffer

    storage = new(tmp_path / "data", data_format, VECTOR)
    storage.update_episodes(filled())
    for number, episode in enumerate(storage.get_episodes(range(300))):
        assert (episode["observations"] == number).all()
        assert (episode["rewards"] == number).all()


def test_types_of_which_every_value_fits() -> None:
    for dtype, stored in [
        ("u1", "i8"),
        ("i4", "f8"),
        ("f2", "f8"),
        ("f8", "f8"),
        ("?", "?"),
        ("u4", "f8"),
        ("i2", "f4"),
    ]:
        assert is_safe(np.dtype(dtype), np.dtype(stored))
    for dtype, stored in [
        ("i8", "f8"),
        ("f8", "f4"),
        ("u8", "i8"),
        ("i4", "f4"),
        ("?", "i1"),
        (">i4", ">i4"),
    ]:
        assert not is_safe(np.dtype(dtype), np.dtype(stored))


def test_places_that_cannot_be() -> None:
    def values(offset: int) -> Values:
        return Values(("x",), offset, (2,), np.dtype(np.float64), 2, np.dtype(np.float64))

    for places in ([-8], [17], [8, 0], [0, 8], [10**12]):
        with pytest.raises(ValueError, match="of 32 bytes"):
            Template(bytes(32), [values(place) for place in places])


def test_templates_do_not_become_ever_more() -> None:
    templates = Templates()
    template = Template(bytes(16), [Values(("x",), 0, (2,), np.dtype(np.float64), 2, np.dtype(np.float64))])
    for key in range(10_000):
        templates.add(key, template)
    assert sum(len(list(templates.under(key))) for key in range(10_000)) <= 2048
    assert list(templates.under(9_999)) == [template]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="counts what Linux maps")
def test_large_files_are_read_through_a_template_of_their_map(tmp_path: Path, used: dict[str, int]) -> None:
    storage = new(tmp_path / "data", "arrow", VECTOR)
    truths = [draw_truth(VECTOR, FLAG, 20_000, seed) for seed in range(2)]
    storage.update_episodes(map(as_buffer, truths))
    before = pa.total_allocated_bytes()
    for _ in range(2):
        for episode, truth in zip(storage.get_episodes(range(2), copy=False), truths, strict=True):
            assert_episode(episode, VECTOR, FLAG, truth)
            assert not episode["observations"].flags.writeable
            assert not episode["observations"].flags.owndata
    assert used["read"] >= 3
    assert pa.total_allocated_bytes() - before < 200_000


def test_no_values() -> None:
    with pytest.raises(ValueError, match="values at"):
        Template(bytes(16), [])
