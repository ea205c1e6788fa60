"""Round trips through every format: the reports of both ways name every difference."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minari._model.episode_buffer import EpisodeBuffer
from minari._model.infos import append_info
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError, MinariError
from minari.interchange import export_dataset, formats, get_format, import_dataset


WRITABLE = [name for name in formats() if get_format(name).is_writable]

#: What a report must say about a difference, by the beginning of its name.
REPORTED = {
    "observation space": "spaces|bounds of boxes|tuple|without keys|no keys|dots",
    "action space": "spaces|bounds of boxes|tuple|without keys|no keys|dots",
    "metadata of the dataset": "metadata of episodes and of the dataset|metadata of the dataset",
    "metadata": "metadata of episodes|episode_metadata|the metadata|episode_id",
    "seed": "seed",
    "options": "options",
    "info": r"infos?\b|steps/|, which not all|which is neither",
    "truncations": "truncat|without an end|no flag|no other ends",
    "terminations": "terminat|without an end|bounds of episodes",
    "episodes": "bounds of episodes|order of episodes|without steps?",
    "rewards": "dtypes|digits|rewards of several|order of episodes",
    "observations": "dtype|tuple|dots|digits|without keys|no keys|bounds of episodes|order of episodes",
    "actions": "dtype|tuple|dots|digits|without keys|no keys|bounds of episodes|order of episodes",
}

_KEYS = ("a", "é漢", "a.b", "a/c", " ", "x y", "state", "states", "image", "0", "_m", "reward", "next_a", "a_0", "task")
_INFOS = ("x", "success", "é", "a.b", "states", "env_states", "dones", "reward", "task", "is_first", "_x", "index")
_FLOATS = (np.float16, np.float32, np.float64)
_INTEGERS = (np.int8, np.int32, np.int64, np.uint8, np.uint32, np.uint64)
_SHAPES = ((), (1,), (2,), (0,), (2, 3), (2, 0), (1, 2, 1, 2, 3))
_TEXT = spaces.Text(5, min_length=0, charset="a7é漢,\"\n'")


def _box(draw: random.Random) -> spaces.Box:
    shape = draw.choice(_SHAPES)
    dtype: Any = draw.choice((*_FLOATS, *_FLOATS, *_INTEGERS, np.bool_))
    if draw.random() < 0.1:
        return spaces.Box(0, 255, draw.choice(((32, 32, 3), (4, 4, 3), (32, 32, 1))), np.uint8)
    if dtype in _FLOATS:
        return spaces.Box(*draw.choice(((-1, 1), (-np.inf, np.inf))), shape, dtype)
    limits = np.iinfo(dtype) if dtype is not np.bool_ else None
    return spaces.Box(limits.min if limits else 0, limits.max if limits else 1, shape, dtype)


def _space(draw: random.Random, depth: int = 0) -> spaces.Space[Any]:
    kind = draw.random()
    if kind < 0.5 or depth > 2:
        return _box(draw)
    if kind < 0.75:
        return spaces.Dict({draw.choice(_KEYS): _space(draw, depth + 1) for _ in range(draw.choice((0, 1, 2, 2, 3)))})
    if kind < 0.82:
        return spaces.Tuple([_space(draw, depth + 1) for _ in range(draw.choice((1, 2)))])
    others = (
        spaces.Discrete(4), spaces.Discrete(3, start=-2), spaces.MultiDiscrete([3, 4]), spaces.MultiBinary([2, 2]),
        _TEXT, spaces.Sequence(spaces.Box(-1, 1, (2,))), spaces.OneOf((spaces.Discrete(2), _TEXT)),
    )  # fmt: skip
    return draw.choice(others)


def _spiced(draw: random.Random, value: Any) -> Any:
    """Put a number in that formats may lose, such as a NaN with a payload."""
    if isinstance(value, dict):
        return {key: _spiced(draw, part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_spiced(draw, part) for part in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size and draw.random() < 0.2:
        value = value.copy()
        bits = {2: (np.uint16, 0x7E01), 4: (np.uint32, 0x7FC00123), 8: (np.uint64, 0x7FF8000000000123)}
        integer, payload = bits[value.dtype.itemsize]
        if draw.random() < 0.5:
            value.reshape(-1).view(integer)[0] = payload
        else:
            value.reshape(-1)[0] = draw.choice((np.inf, -0.0, 1e-7))
    return value


def _infos(draw: random.Random, rows: int) -> dict[str, Any]:
    kinds: tuple[Any, ...] = (
        draw.random, lambda: draw.randint(-9, 2**40), lambda: draw.choice(("", "é漢", "7")),
        lambda: np.full(2, 0.5, np.float32), lambda: {"q": None},
        lambda: np.uint64(2**63), lambda: {"x": draw.random()}, lambda: np.zeros(0), lambda: 1 + 2j,
    )  # fmt: skip
    found: list[dict[str, Any]] = [{} for _ in range(rows)]
    for _ in range(draw.choice((0, 0, 1, 2))):
        key, kind, first, last = draw.choice(_INFOS), draw.choice(kinds), draw.choice((0, 0, 1)), draw.choice((0, 0, 1))
        for row in found[first : rows - last]:
            row[key] = kind()
    infos: dict[str, Any] = {}
    for number, row in enumerate(found):
        append_info(infos, row, number)
    return infos


def _drawn(seed: int, root: Path) -> MinariDataset:
    draw = random.Random(seed)
    observations = _space(draw)
    actions = draw.choice((spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3), _space(draw)))
    for space in (observations, actions):
        space.seed(seed % 2**31)
    reward_shape, reward_dtype = draw.choice(((), (), (), (2,))), draw.choice((*_FLOATS, np.int64))
    episodes = []
    for _ in range(draw.choice((1, 2, 3))):
        steps = draw.choice((1, 1, 2, 4))
        flags = np.zeros((2, steps), bool)
        flags[:, -1] = draw.choice(((True, False), (False, True), (True, True), (False, False)))
        if draw.random() < 0.1:
            flags[draw.choice((0, 1)), 0] = True
        rewards = np.array([draw.uniform(-4, 4) for _ in range(steps * int(np.prod(reward_shape)))])
        episodes.append(
            EpisodeBuffer(
                observations=[_spiced(draw, observations.sample()) for _ in range(steps + 1)],
                actions=[_spiced(draw, actions.sample()) for _ in range(steps)],
                rewards=rewards.reshape(steps, *reward_shape).astype(reward_dtype),
                terminations=flags[0],
                truncations=flags[1],
                infos=_infos(draw, steps + 1),
                seed=draw.choice((None, 0, 2**40)),
                options=draw.choice((None, {"level": "é"})),
                metadata=draw.choice(
                    ({}, {"task": "緑"}, {"score": 0.1, "é": [1, 2]}, {"episode_id": 7, "n": {"q": 1.5}})
                ),
            )
        )
    return create_dataset_from_buffers(
        "trips/a-v0", episodes, observation_space=observations, action_space=actions, root=root, author="Ada"
    )


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from _leaves(part, f"{path}/{key!r}")
    elif isinstance(tree, tuple):
        for number, part in enumerate(tree):
            yield from _leaves(part, f"{path}/({number})")
    else:
        yield path, tree


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype != object:
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return type(a) is type(b) and repr(list(a)) == repr(list(b))


def differences(ours: MinariDataset, theirs: MinariDataset) -> set[str]:
    """The names of what differs between two datasets."""
    found = {
        f"{name} space" for name in ("observation", "action")
        if getattr(ours, f"{name}_space") != getattr(theirs, f"{name}_space")
    }  # fmt: skip
    if ours.storage.metadata.get("author") != theirs.storage.metadata.get("author"):
        found.add("metadata of the dataset")
    if [len(one) for one in ours] != [len(one) for one in theirs]:
        return found | {"episodes"}
    for a, b in zip(ours, theirs, strict=True):
        for field in ("observations", "actions", "infos"):
            x, y = dict(_leaves(getattr(a, field))), dict(_leaves(getattr(b, field)))
            found |= {
                f"{field.replace('infos', 'info')} {key}" for key in x.keys() | y.keys()
                if key not in x or key not in y or not _same(x[key], y[key])
            }  # fmt: skip
        found |= {
            name for name in ("rewards", "terminations", "truncations") if not _same(getattr(a, name), getattr(b, name))
        }
        for key in set(a.metadata) - {"demo", "elapsed_steps"}:
            if key not in b.metadata or not np.array_equal(a.metadata[key], b.metadata[key]):
                found.add(key if key in ("seed", "options") else f"metadata {key}")
    return found


def check(name: str, seed: int, root: Path) -> None:
    """Export a dataset and import it again, and require that the reports name each difference."""
    try:
        dataset = _drawn(seed, root)
    except MinariError:  # keys that are the same with and without a slash
        return
    place = root / "out"
    try:
        report = export_dataset(dataset, place, name)
    except InterchangeError:
        return
    is_chosen = any("rewards of several" in sentence for sentence in report.missing)
    options = {"rewards": "reward_0"} if is_chosen else {}
    again = import_dataset(place, "trips/b-v0", name, root=root, **options)
    assert isinstance(again, MinariDataset)
    conversion = again.storage.metadata["conversion"]
    parts = [*report.taken, *report.assumed, *report.missing]
    parts += [sentence for kind in ("taken", "assumed", "missing") for sentence in conversion.get(kind, [])]
    for difference in differences(dataset, again):
        rule = next(rule for start, rule in REPORTED.items() if difference.startswith(start))
        assert re.search(rule, "\n".join(parts)), (difference, parts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITABLE)
@settings(deadline=None, max_examples=3, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**60))
def test_reports_name_every_difference(name: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Spaces, dtypes, values, infos, flags, seeds and metadata come back, or a report says which do not."""
    check(name, seed, tmp_path_factory.mktemp("trip"))


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITABLE)
def test_reports_name_every_difference_of_many(name: str, tmp_path: Path) -> None:
    """As above, for as many datasets as MINARI_ROUND_TRIPS says."""
    for seed in range(int(os.environ.get("MINARI_ROUND_TRIPS", "1000"))):
        (tmp_path / str(seed)).mkdir()
        check(name, seed, tmp_path / str(seed))
