"""Files that are made and read through a template are the same as without it, and damage goes past no template."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.arrow.templates import Template, Templates, Values, is_safe
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.comparison import assert_same
from minari.testing.examples import SPACES, draw_truth
from support.stored import assert_holds, flip, plain_buffer, store


pytest.importorskip("pyarrow")

from minari._storages.arrow import tables as arrow_tables


VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float64)
FLAG = spaces.Discrete(2)
F8 = np.dtype(np.float64)


def new(directory: Path, data_format: str, truths: list[Any], space: Any = VECTOR) -> MinariStorage:
    return MinariStorage.read(store(directory, data_format, truths, space, FLAG))


@pytest.mark.parametrize("name", SPACES)
def test_files_are_the_same_with_templates_and_without(
    tmp_path: Path, data_format: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SPACES[name]
    truths = [draw_truth(space, FLAG, steps, number) for number, steps in enumerate((5, 5, 5, 9, 5, 9, 9, 5))]
    first = new(tmp_path / "first", data_format, truths, space)
    with monkeypatch.context() as patch:
        patch.setattr(arrow_tables, "template_of", lambda *arguments: None)
        second = new(tmp_path / "second", data_format, truths, space)
        plain = list(second.get_episodes(range(len(truths))))
    for index in range(len(truths)):
        file = f"{index}/part-0.{data_format}"
        assert (first.data_path / file).read_bytes() == (second.data_path / file).read_bytes()
    assert_holds(first, truths, space, FLAG)
    assert_same(list(first.get_episodes(range(len(truths)))), plain, "episodes")  # now by templates


def test_templates_are_used_where_episodes_are_alike(
    tmp_path: Path, data_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"read": 0, "fill": 0}

    def counted(name: str) -> Any:
        original = getattr(Template, name)

        def call(*arguments: Any) -> Any:
            counts[name] += 1
            return original(*arguments)

        return call

    for name in counts:
        monkeypatch.setattr(Template, name, counted(name))
    space = spaces.Dict({"a": VECTOR, "b": spaces.Tuple((spaces.MultiBinary(4), spaces.Box(0, 1, (), np.float32)))})
    infos = {"speed": np.arange(6.0), "deep": {"flag": np.ones((6, 2), np.bool_)}}
    truths = [draw_truth(space, FLAG, 5, seed, infos) for seed in range(6)]
    storage = new(tmp_path, data_format, truths, space)
    assert counts["fill"] == 5  # the second one made the template, and was held against it
    counts["read"] = 0
    assert_holds(storage, truths, space, FLAG)
    assert counts["read"] == 6


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_any_bits_come_back(tmp_path: Path, data_format: str, dtype: str) -> None:
    """Not a number, minus zero, any pattern of flags, at lengths that fill bytes and do not."""
    rng = np.random.default_rng(0)
    space = spaces.Box(0, 1, (3,), np.dtype(dtype).type)
    for rows in (2, 9, 10, 18):
        buffers = [
            plain_buffer(
                np.frombuffer(rng.bytes(rows * 3 * np.dtype(dtype).itemsize), dtype).reshape(rows, 3),
                terminations=rng.integers(0, 2, rows - 1).astype(bool),
            )
            for _ in range(4)
        ]
        storage = new(tmp_path / f"{rows}", data_format, buffers, space)
        for _ in range(2):
            for episode, buffer in zip(storage.get_episodes(range(4)), buffers, strict=True):
                assert episode["observations"].dtype == np.dtype(dtype)
                assert episode["observations"].tobytes() == buffer.observations.tobytes()
                assert np.array_equal(episode["terminations"], buffer.terminations)


def outcome(storage: MinariStorage, part: Path) -> bytes | None:
    """The values of an episode, None where the file is refused."""
    try:
        (episode,) = storage.get_episodes([1])
    except DatasetCorruptError as error:
        if str(part) in str(error) or "Episode 1" in str(error):
            return None
        raise
    return b"".join(episode[name].tobytes() for name in ("observations", "actions", "rewards"))


def test_no_damage_goes_past_a_template(tmp_path: Path, data_format: str) -> None:
    """One wrong byte that is not a value's is noticed by the library of the format, or does not matter."""
    truths = [draw_truth(VECTOR, FLAG, 30, seed) for seed in range(3)]
    storage = new(tmp_path, data_format, truths)
    part = storage.data_path / "1" / f"part-0.{data_format}"
    content = part.read_bytes()
    begin = content.index(truths[1]["rewards"].tobytes())
    list(storage.get_episodes(range(3)))
    noticed = 0
    for place in [*range(0, begin, 7), *range(len(content) - 200, len(content))]:
        part.write_bytes(content)
        flip(part, place, 0xFF)
        outcomes = [outcome(opened, part) for opened in (storage, MinariStorage.read(storage.data_path))]
        noticed += None in outcomes
        assert outcomes[0] == outcomes[1], place
    assert noticed > 20
    for length in (len(content) - 1, len(content) // 2, 0):
        part.write_bytes(content[:length])
        with pytest.raises(DatasetCorruptError, match=f"{part} cannot be read"):
            list(storage.get_episodes([1]))


def test_size_of_a_file_says_nothing_about_its_columns(tmp_path: Path, data_format: str) -> None:
    infos = [{"up": np.arange(5.0)}, {"on": np.arange(5.0)}]
    truths = [draw_truth(VECTOR, FLAG, 4, number, infos[number % 2]) for number in range(6)]
    storage = new(tmp_path, data_format, truths)
    parts = [storage.data_path / str(index) / f"part-0.{data_format}" for index in range(6)]
    assert len({part.stat().st_size for part in parts}) == 1
    for _ in range(2):
        assert_holds(storage, truths, VECTOR, FLAG)
    shutil.copy(parts[0], parts[1])
    assert_holds(storage, [truths[0], truths[0], *truths[2:]], VECTOR, FLAG)


def test_values_that_decide_upon_their_type_make_no_template(tmp_path: Path, data_format: str) -> None:
    rewards = [np.arange(3), np.arange(3) + 2**40, np.arange(3), np.array([2**62 + 1, 0, 1]), np.arange(3)]
    storage = new(tmp_path, data_format, [plain_buffer(np.zeros((4, 3)), rewards=each) for each in rewards])
    for episode, each in zip(storage.get_episodes(range(5)), rewards, strict=True):
        assert_same(episode["rewards"], each, "rewards")


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["u1 i8", "i4 f8", "f2 f8", "f8 f8", "? ?", "u4 f8", "i2 f4"], True),
        (["i8 f8", "f8 f4", "u8 i8", "i4 f4", "? i1", ">i4 >i4"], False),
    ],
)
def test_type_is_safe_if_it_holds_every_value(pairs: list[str], expected: bool) -> None:
    assert {is_safe(*map(np.dtype, pair.split())) for pair in pairs} == {expected}


@pytest.mark.parametrize("places", [[], [-8], [17], [8, 0], [0, 8], [10**12]])
def test_impossible_places_are_refused(places: list[int]) -> None:
    with pytest.raises(ValueError, match="of 32 bytes"):
        Template(bytes(32), [Values(("x",), place, (2,), F8, 2, F8) for place in places])


def test_templates_do_not_become_ever_more() -> None:
    templates, template = Templates(), Template(bytes(16), [Values(("x",), 0, (2,), F8, 2, F8)])
    for key in range(10_000):
        templates.add(key, template)
    assert sum(len(list(templates.under(key))) for key in range(10_000)) <= 2048
    assert list(templates.under(9_999)) == [template]
