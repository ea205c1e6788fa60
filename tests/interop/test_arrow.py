"""Arrow and Parquet datasets in the hands of both packages: every space, infos, frames, options."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from support.cases import PICTURES
from support.checks import assert_holds, assert_same_options, forgotten
from support.values import assert_identical


pytest.importorskip("pyarrow")

CASES = [
    "box-float16",
    "box-float64-matrix",
    "box-bool",
    "discrete-start",
    "multi-discrete-matrix",
    "multi-binary-matrix",
    "text-unicode",
    "dict-nested",
    "tuple-of-eleven",
    "dict-of-tuples",
    "random:3",
]

#: The mean error that JPEG makes of the toy's smooth frames, once and twice.
ONCE, TWICE = {("observations",): 4.0}, {("observations",): 8.0}

both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])


def nested(dump: dict[str, Any]) -> dict[str, Any]:
    """Return what 0.5.4 read, with nested infos as columns: it returns them as arrays of dicts."""
    for episode in dump["episodes"]:
        infos = episode["infos"] or {}
        for key, values in infos.items():
            if isinstance(values[0], dict):
                infos[key] = _columns(values)
    return dump


def _columns(values: Any) -> Any:
    if isinstance(values[0], dict):
        return {key: _columns([value[key] for value in values]) for key in values[0]}
    return np.array(values).reshape(len(values))  # numbers, which it may have stored as arrays of one


@both_formats
@pytest.mark.parametrize("how", ["collector", "buffers", "steps"])
@pytest.mark.parametrize("case", CASES)
def test_the_release_reads_extends_and_combines_what_we_write(
    case: str, how: str, data_format: str, reference: Any
) -> None:
    from support import operations

    infos = how != "buffers"
    truth = operations.record("ours/data-v0", case, how=how, data_format=data_format, infos=infos, seed=1)
    assert_holds(nested(reference.dump("ours/data-v0", case)), truth)
    # Neither its collector can append nested infos, nor can it combine them; whole columns it would
    # store in the order of their dict, and not read again beside others.
    truth += reference.append("ours/data-v0", case, how="steps", infos=infos, seed=10)
    truth += operations.append("ours/data-v0", case, how=how, infos=infos, seed=30)
    assert_holds(nested(reference.dump("ours/data-v0", case)), truth)
    assert_holds(operations.dump("ours/data-v0", case), truth)

    ours = operations.record("plain/ours-v0", case, how=how, data_format=data_format, seed=1)
    theirs = reference.record("plain/theirs-v0", case, data_format=data_format, seed=20)
    reference.combine(["plain/ours-v0", "plain/theirs-v0"], "both-v0")
    assert_holds(operations.dump("both-v0", case), forgotten(ours + theirs))


@both_formats
@pytest.mark.parametrize("how", ["collector", "buffers", "steps"])
@pytest.mark.parametrize("case", CASES)
def test_we_read_extend_and_combine_what_the_release_writes(
    case: str, how: str, data_format: str, reference: Any
) -> None:
    """In buffers it keeps dicts in the order in which they were given, which we have to follow."""
    from support import operations

    truth = reference.record("theirs/data-v0", case, how=how, data_format=data_format, infos=True, seed=1)
    assert_holds(operations.dump("theirs/data-v0", case), truth)
    for ours in ("collector", "buffers"):
        truth += operations.append("theirs/data-v0", case, how=ours, infos=True, seed=10)
    assert_holds(operations.dump("theirs/data-v0", case), truth)
    assert_holds(nested(reference.dump("theirs/data-v0", case)), truth)

    more = operations.record("ours/data-v0", case, data_format=data_format, infos=True, seed=20)
    operations.combine(["theirs/data-v0", "ours/data-v0"], "both-v0")
    assert_holds(operations.dump("both-v0", case), truth + more)
    assert_holds(nested(reference.dump("both-v0", case)), truth + more)


@both_formats
def test_taking_turns(data_format: str, reference: Any) -> None:
    from support import operations

    truth = operations.record("shared-v0", "dict-nested", data_format=data_format, seed=0)
    for turn in range(1, 6):
        side = reference if turn % 2 else operations
        truth += side.append("shared-v0", "dict-nested", how="steps", seed=100 * turn, episodes=turn)
        assert_holds(operations.dump("shared-v0", "dict-nested"), truth)
        assert_holds(reference.dump("shared-v0", "dict-nested"), truth)


@both_formats
@pytest.mark.parametrize("case", PICTURES)
def test_jpeg_both_ways(case: str, data_format: str, reference: Any) -> None:
    from support import operations

    play = {"data_format": data_format, "jpeg_encoding": True, "smooth_images": True}
    ours = operations.record("ours-v0", case, seed=1, **play)
    theirs = reference.record("theirs-v0", case, seed=20, **play)
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("ours-v0", case), ours, lossy=ONCE)
        assert_holds(dump("theirs-v0", case), theirs, lossy=ONCE)
    before = operations.dump("theirs-v0", case)["episodes"]
    ours += forgotten(reference.append("ours-v0", case, smooth_images=True, seed=10))
    theirs += operations.append("theirs-v0", case, smooth_images=True, seed=30)
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("both-v0", case), theirs + ours, lossy=ONCE)
    combined = operations.dump("both-v0", case)["episodes"]
    for one, other in zip(before, combined, strict=False):  # stored bytes were copied
        assert_identical(one["observations"], other["observations"])
    reference.combine(["theirs-v0", "ours-v0"], "again-v0")
    assert_holds(operations.dump("again-v0", case), forgotten(theirs + ours), lossy=TWICE)


@both_formats
@pytest.mark.parametrize("case", [*PICTURES, "picture-small"])
def test_exact_frames_both_ways(case: str, data_format: str, reference: Any) -> None:
    from support import operations

    ours = operations.record("ours-v0", case, data_format=data_format, seed=1)
    theirs = reference.record("theirs-v0", case, data_format=data_format, seed=20)
    ours += forgotten(reference.append("ours-v0", case, seed=10))
    theirs += operations.append("theirs-v0", case, seed=30)
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("ours-v0", case), ours)
        assert_holds(dump("theirs-v0", case), theirs)


OPTIONS: dict[str, Any] = {
    "text": "größe 🎲",
    "real": 1.5,
    "whole": -3,
    "yes": True,
    "nothing": None,
    "list": [1, 2, 3],
    "state": {"deep": {"qpos": np.float32([[0.1, 0.2]]), "mode": "easy"}},
}


@both_formats
def test_seeds_and_options(data_format: str, reference: Any) -> None:
    """The release reads arrays as lists, which is all that it can store of them itself."""
    from support import operations

    seed = 2**64 - 3
    play = {"data_format": data_format, "seed": seed, "options": OPTIONS}
    ours = operations.record("ours-v0", "discrete", **play)
    theirs = reference.record("theirs-v0", "discrete", **play)
    assert_holds(operations.dump("ours-v0"), ours)
    lists = {**OPTIONS, "state": {"deep": {"qpos": np.float32([[0.1, 0.2]]).tolist(), "mode": "easy"}}}
    assert_holds(reference.dump("ours-v0"), [{**episode, "options": lists} for episode in ours])
    assert_holds(operations.dump("theirs-v0"), [{**episode, "options": lists} for episode in theirs])

    episodes = [{"success": True, "label": "first"}, {"success": False, "label": "zweite"}]
    operations.update_metadata("ours-v0", {"robot": "arm"}, episodes)
    reference.update_metadata("ours-v0", {"checked": 1}, [{"score": 0.5}, {"score": -2.0}])
    for dump in (operations.dump("ours-v0"), reference.dump("ours-v0")):
        assert (dump["metadata"]["robot"], dump["metadata"]["checked"]) == ("arm", 1)
        for index, metadata in enumerate(dump["episode_metadata"]):
            assert metadata["score"] == (0.5, -2.0)[index]
            assert (metadata["success"], metadata["label"]) == tuple(episodes[index].values())
            assert metadata["seed"] == seed + index
    for metadata in operations.dump("ours-v0")["episode_metadata"]:
        assert_same_options(metadata["options"], OPTIONS)


@pytest.mark.filterwarnings("ignore:.* is set to None:UserWarning")
@both_formats
def test_types_that_the_release_would_not_choose(data_format: str, reference: Any) -> None:
    """Whole rewards and a small Discrete lie beside what it appends, as it writes them."""
    import minari
    from support import operations

    buffer = minari.data_collector.EpisodeBuffer(
        observations=np.arange(4, dtype=np.uint8),
        actions=np.array([-2, 1, 0], np.int8),
        rewards=[1, 0, 1],
        terminations=[False, False, True],
        truncations=[False] * 3,
    )
    spaces = gym.spaces.Discrete(5, dtype=np.uint8), gym.spaces.Discrete(4, start=-2, dtype=np.int8)
    minari.create_dataset_from_buffers(
        "ours-v0", [buffer], observation_space=spaces[0], action_space=spaces[1], data_format=data_format
    )
    truth = reference.append("ours-v0", "discrete", seed=3)
    for dump in (operations.dump("ours-v0"), reference.dump("ours-v0")):
        first, *others = dump["episodes"]
        assert first["observations"].tolist() == [0, 1, 2, 3]
        assert first["actions"].tolist() == [-2, 1, 0]
        assert first["rewards"].tolist() == [1, 0, 1]
        for episode, expected in zip(others, truth, strict=True):
            for field in ("observations", "actions", "rewards"):
                assert np.array_equal(episode[field], expected[field])
    ours = operations.dump("ours-v0")["episodes"]
    assert [ours[0][field].dtype.name for field in ("observations", "actions", "rewards")] == ["uint8", "int8", "int64"]
    assert {episode["observations"].dtype.name for episode in ours} == {"uint8"}


@pytest.mark.filterwarnings("ignore:.* is set to None:UserWarning")
@both_formats
def test_infos_of_no_fixed_shape(data_format: str, reference: Any) -> None:
    """The release reads the rest of the episodes, and of these infos what it has a place for."""
    import minari
    from support import operations
    from support.toys import ToyEnv

    class Capricious(ToyEnv):
        def _info(self) -> dict[str, Any]:
            ragged, void = np.arange(self._time % 3), np.empty((0, 2), np.float32)
            always = {"time": np.int64(self._time), "ragged": ragged, "odd": [None, "a"], "void": void}
            return always | ({"bonus": np.float64(self._time / 2)} if self._time % 2 else {})

    env = Capricious(gym.spaces.Discrete(3), gym.spaces.Discrete(2))
    collector = minari.DataCollector(env, record_infos=True, data_format=data_format)
    for seed in (1, 2):
        collector.reset(seed=seed)
        for _ in range(4):
            collector.step(np.int64(0))
    collector.create_dataset("capricious-v0", **operations.METADATA)
    ours, theirs = operations.dump("capricious-v0"), reference.dump("capricious-v0")
    for episode in ours["episodes"]:
        assert [array.tolist() for array in episode["infos"]["ragged"]] == [[], [0], [0, 1], [], [0]]
        assert episode["infos"]["odd"].tolist() == [[None, "a"]] * 5
        assert episode["infos"]["void"].shape == (5, 0, 2)
    for read in (ours, theirs):
        assert [episode["id"] for episode in read["episodes"]] == [0, 1]
        for episode in read["episodes"]:
            assert episode["infos"]["time"].tolist() == [0, 1, 2, 3, 4]
            assert episode["infos"]["_bonus"].tolist() == [False, True, False, True, False]
            assert episode["infos"]["bonus"].tolist() == [0, 0.5, 0, 1.5, 0]
            assert len(episode["observations"]) == 5
    assert theirs["episodes"][0]["infos"]["odd"][0] == {"_json": '[null, "a"]'}


@both_formats
@pytest.mark.parametrize("compression", ["zstd:19", "lz4", "gzip", "brotli", "snappy", None])
@pytest.mark.parametrize("case", ["dict-nested", *PICTURES])
def test_the_release_reads_extends_and_combines_what_is_compressed(
    case: str, compression: str | None, data_format: str, reference: Any
) -> None:
    import minari
    from support import operations

    if data_format == "arrow" and compression in ("gzip", "brotli", "snappy"):
        pytest.skip("the format has no such codec")
    play = {"smooth_images": True, "episode_length": 30}
    truth = operations.record("plain-v0", case, seed=1, **play)
    minari.load_dataset("plain-v0").convert("ours-v0", data_format=data_format, compression=compression)
    assert_holds(reference.dump("ours-v0", case), truth)
    truth += reference.append("ours-v0", case, how="steps", seed=10, **play)
    truth += operations.append("ours-v0", case, seed=30, **play)
    for dump in (reference.dump, operations.dump):
        assert_holds(dump("ours-v0", case), truth)
    reference.combine(["ours-v0", "ours-v0"], "both-v0")
    lossy = ONCE if case in PICTURES else {}  # it makes JPEG of frames when it combines
    for dump in (reference.dump, operations.dump):
        assert_holds(dump("both-v0", case), forgotten(truth + truth), lossy=lossy)


@both_formats
def test_long_episodes(data_format: str, reference: Any) -> None:
    """The release reads ours whole, and adds to them. What it writes itself it reads up to 32,767 rows; we read all."""
    from support import operations

    lengths = (40_000, 32_767)
    truth: list[dict[str, Any]] = []
    for number, length in enumerate(lengths):
        record = operations.append if number else operations.record
        more = {} if number else {"data_format": data_format}
        truth += record("ours-v0", "box-float32", how="buffers", seed=number, episodes=1, episode_length=length, **more)
    assert [len(episode["rewards"]) for episode in truth] == list(lengths)
    truth += reference.append("ours-v0", "box-float32", how="buffers", seed=9, episodes=1)
    for dump in (reference.dump, operations.dump):
        assert_holds(dump("ours-v0", "box-float32"), truth)
    truth += reference.append("ours-v0", "box-float32", how="buffers", seed=10, episodes=1, episode_length=40_000)
    assert_holds(operations.dump("ours-v0", "box-float32"), truth)
