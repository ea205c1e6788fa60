"""LeRobot: every sample with its truth, round trips, damaged directories, and LeRobot's own reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from interchange.conftest import Sample, sample
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, InterchangeError
from minari.interchange import export_dataset, import_dataset, read
from support.official import fixtures_directory


pytest.importorskip("pyarrow")
pytest.importorskip("av")

pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

INVENTED = {"final_observation": "repeat", "rewards": "zeros"}
SAMPLES = [
    ("lerobot-v3", "toy_full", {"done": "success"}),
    ("lerobot-v3", "toy_multifile", {"done": "success"}),
    ("lerobot-v3", "toy_h264_doubledone", {"done": "success"}),
    ("lerobot-v3", "toy_chw", {}),
    ("lerobot-v3", "toy_demos_only", {}),
    ("lerobot-v2.1", "toy_full", {"done": "success"}),
    ("lerobot-v2.1", "toy_demos_only", {}),
    ("lerobot-v2.1", "toy_demos_only_as_v2.0", {}),
]


def directory(*parts: str) -> Path:
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    return root.joinpath("foreign", *parts)


def leaf(tree: Any, name: str) -> np.ndarray[Any, Any]:
    for part in name.removeprefix("observation").strip(".").split("."):
        tree = tree[part]
    return tree


def assert_frames(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    """Every decoded frame is that of its row and of no other, and close to it."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    errors = np.array([[np.abs(one - other).mean() for other in b] for one in a])
    assert (errors.argmin(axis=1) == np.arange(len(a))).all()
    assert errors.diagonal().max() < 12


def assert_episode(episode: Any, truth: dict[str, np.ndarray[Any, Any]], found: Sample, number: int) -> None:
    has_rewards = found.truth["rewards_in_file"]
    for name, values in truth.items():
        if not name.startswith("observations/"):
            continue
        ours = leaf(episode.observations, name.removeprefix("observations/"))
        assert (ours.dtype, ours.shape) == (values.dtype, values.shape), name
        np.testing.assert_array_equal(ours[-1], ours[-2])  # repeated
        if name.endswith("front"):
            assert_frames(ours[:-1], values[:-1])
        else:
            np.testing.assert_array_equal(ours[:-1], values[:-1], err_msg=name)
    pairs = [(episode.actions, truth["actions"])]
    if has_rewards:
        pairs += [(episode.rewards, truth["rewards"]), (episode.terminations, truth["terminated"])]
        pairs += [(episode.truncations, truth["truncated"])]
        success = found.truth["episodes"][number]["success"]
        assert episode.infos["_success"].tolist() == [False] + [True] * len(episode)
        assert bool(episode.infos["success"][-1]) == success
    else:
        assert not episode.rewards.any()
        assert episode.truncations.tolist() == [False] * (len(episode) - 1) + [True]
    for ours, theirs in pairs:
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
    assert episode.metadata["task"] == found.truth["episodes"][number]["task"]


@pytest.mark.parametrize(("group", "name", "options"), SAMPLES, ids=lambda value: value if value is str else None)
def test_samples_are_read_exactly(group: str, name: str, options: dict[str, Any]) -> None:
    found = sample(group, name)
    dataset = import_dataset(found.path, "lerobot/sample-v0", **INVENTED, **options)
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (found.truth["total_episodes"], found.truth["total_steps"])
    for number, episode in enumerate(dataset):
        assert_episode(episode, found.episode(number), found, number)
    assert dataset.storage.metadata["lerobot"]["fps"] == found.truth["fps"]
    if name == "toy_h264_doubledone":
        assert any("3 rows before" in sentence for sentence in dataset.storage.metadata["conversion"]["taken"])


def test_golden_frames_of_version_1_are_decoded_as_by_lerobot() -> None:
    path = directory("lerobot-v1-real", "pusht")
    (episode,) = read(path, final_observation="drop_last_step").episodes
    with np.load(path.with_name("pusht.golden_frames.npz")) as golden:
        for name in golden:
            row = int(name.removeprefix("frame_"))
            np.testing.assert_array_equal(episode.observations["image"][row], golden[name])
    assert (len(episode.rewards), episode.truncations[-1]) == (160, True)


@pytest.mark.parametrize(
    ("name", "state", "steps"), [("pusht_image", (162, 2), 161), ("aloha_sim_transfer_cube_human", (401, 14), 400)]
)
def test_real_datasets_of_version_1_are_read(name: str, state: tuple[int, int], steps: int) -> None:
    (episode,) = read(directory("lerobot-v1-real", name), **INVENTED).episodes
    assert episode.observations["state"].shape == state
    assert len(episode.rewards) == steps
    assert episode.terminations.sum() == 1


def test_what_is_missing_is_asked_for() -> None:
    path = directory("lerobot-v3", "toy_demos_only")
    with pytest.raises(InterchangeError, match="no rewards"):
        read(path, final_observation="repeat")
    with pytest.raises(InterchangeError, match="no observation after the last step of its 6 episodes"):
        read(path, rewards="zeros")
    with pytest.raises(ArgumentError, match="done is 'maybe'"):
        read(path, done="maybe")


@pytest.mark.parametrize(
    ("name", "message"),
    [("BROKEN-never-finalized", "was not finalized"), ("BROKEN-video-missing", "is missing")],
)
def test_broken_samples_are_one_clear_error(name: str, message: str) -> None:
    with pytest.raises(InterchangeError, match=message) as raised:
        import_dataset(directory("lerobot-v3", name), "lerobot/broken-v0", **INVENTED)
    assert "\n" not in str(raised.value)
    assert minari.list_local_datasets() == {}


def copy_of(path: Path, place: Path) -> Path:
    shutil.copytree(path, place)
    for one in (place, *place.rglob("*")):
        one.chmod(0o755 if one.is_dir() else 0o644)
    return place


def read_all(path: Path) -> None:
    for _ in read(path, "lerobot", **INVENTED).episodes:
        pass


@pytest.mark.parametrize("seed", range(16))
def test_damage_is_an_error_of_ours(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    group, name = [("lerobot-v3", "toy_full"), ("lerobot-v2.1", "toy_full"), ("lerobot-v1-real", "pusht_image")][
        seed % 3
    ]
    path = copy_of(directory(group, name), tmp_path / "a")
    files = sorted(one for one in path.rglob("*") if one.is_file() and one.suffix != ".png")
    file = files[generator.integers(len(files))]
    data = bytearray(file.read_bytes())
    if seed % 2:
        for place in generator.integers(len(data), size=20):
            data[place] ^= 1 << int(generator.integers(8))
    else:
        del data[generator.integers(len(data)) :]
    file.write_bytes(data)
    with suppress(InterchangeError):  # a flipped bit may change nothing but a value
        read_all(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_path": "../{chunk_index:03d}{file_index}"}, "relative"),
        ({"data_path": "{episode_index.__class__}"}, "cannot be read|missing"),
        ({"data_path": "/etc/passwd"}, "relative"),
        ({"data_path": "{nothing}"}, "'nothing' is not known"),
        ({"data_path": 3}, "expected a pattern"),
        ({"fps": 0}, "expected frames per second"),
        ({"fps": "10"}, "expected frames per second"),
        ({"codebase_version": "v9.0"}, "convert the dataset"),
        ({"features": {}}, "describes no features"),
        ({"features": {"action": {"dtype": "float32", "shape": [2**60]}}}, "no feature observation|expected"),
        ({"features": {"action": {"dtype": "float32", "shape": "2"}}}, "expected its dtype and shape"),
    ],
)
def test_hostile_descriptions_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = copy_of(directory("lerobot-v3", "toy_demos_only"), tmp_path / "a")
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps({**info, **changes}))
    with pytest.raises(InterchangeError, match=message):
        read_all(path)


def test_links_out_of_the_directory_are_refused(tmp_path: Path) -> None:
    path = copy_of(directory("lerobot-v3", "toy_demos_only"), tmp_path / "a")
    file = path / "data/chunk-000/file-000.parquet"
    shutil.move(file, tmp_path / "elsewhere.parquet")
    file.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(InterchangeError, match="link that leads out"):
        read_all(path)


@st.composite
def datasets(draw: st.DrawFn) -> minari.MinariDataset:
    """A dataset that LeRobot can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2), (2, 1, 3)]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.uint8, np.int16]))
    kind = draw(st.sampled_from(["array", "dict", "image"]))
    discrete, infos = draw(st.booleans()), draw(st.booleans())
    array = gym.spaces.Box(-100, 100, shape, dtype) if dtype != np.uint8 else gym.spaces.Box(0, 200, shape, dtype)
    image = gym.spaces.Box(0, 255, draw(st.sampled_from([(33, 40, 3), (32, 32), (40, 32, 1)])), np.uint8)
    parts = {"a": array, "b.c": gym.spaces.Tuple((array, gym.spaces.MultiBinary(3))), "b": gym.spaces.Dict(c=image)}
    space = {"array": array, "image": image, "dict": gym.spaces.Dict({**parts, "t": gym.spaces.Text(5)})}[kind]
    actions = gym.spaces.Discrete(4) if discrete else gym.spaces.Dict(x=gym.spaces.Box(-1, 1, (2,), np.float64))
    space.seed(int(generator.integers(2**31)))
    actions.seed(int(generator.integers(2**31)))
    episodes = []
    for number in range(draw(st.integers(1, 4))):
        steps = draw(st.integers(1, 5))
        buffer = EpisodeBuffer(observations=None, seed=draw(st.sampled_from([None, number])))
        for step in range(steps + 1):
            is_first = not step
            buffer = buffer.add_step_data(
                {
                    "observation": space.sample(),
                    "action": None if is_first else actions.sample(),
                    "reward": None if is_first else generator.random(),
                    "terminated": None if is_first else bool(generator.integers(2)),
                    "truncated": None if is_first else bool(generator.integers(2)),
                    "info": {"x": generator.random(2), "deep": {"y/z": step, "text": "ö" * step}} if infos else {},
                }
            )
        task = draw(st.sampled_from([{}, {"task": "öffne"}, {"task": "close", "level": 3, "a": np.arange(2)}]))
        episodes.append(EpisodeBuffer(**{**buffer.__dict__, "metadata": task}))
    return minari.create_dataset_from_buffers(
        "lerobot/drawn-v0", episodes, observation_space=space, action_space=actions
    )


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("lerobot/drawn-v0", "lerobot/again-v0"):
        if name in minari.list_local_datasets():
            minari.delete_dataset(name)
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "a"
    report = export_dataset(dataset, path, "lerobot")
    assert (report.episodes, report.steps) == (dataset.total_episodes, dataset.total_steps)
    assert not any("infos" in sentence for sentence in report.missing)
    again = import_dataset(path, "lerobot/again-v0")
    assert isinstance(again, minari.MinariDataset)
    assert (again.observation_space, again.action_space) == (dataset.observation_space, dataset.action_space)
    assert len(again) == len(dataset)
    for ours, theirs in zip(again, dataset, strict=True):
        assert ours == theirs
        assert ours.metadata.keys() == theirs.metadata.keys()
        assert all(np.array_equal(ours.metadata[key], theirs.metadata[key]) for key in theirs.metadata)


def frames_dataset(steps: int = 6) -> minari.MinariDataset:
    ramp = np.linspace(0, 255, 48 * 32 * 3).reshape(48, 32, 3)
    frames = [np.roll(ramp, 8 * step, axis=0).astype(np.uint8) for step in range(2 * steps + 2)]
    episodes = [
        EpisodeBuffer(
            observations={
                "image": np.stack(frames[first : first + steps + 1]),
                "state": np.zeros((steps + 1, 2), np.float32),
            },
            actions=np.zeros((steps, 2), np.float32),
            rewards=np.arange(steps, dtype=np.float32),
            terminations=np.arange(steps) == steps - 1,
            truncations=np.zeros(steps, np.bool_),
            metadata={"task": "roll"},
        )
        for first in (0, steps + 1)
    ]
    image, state = gym.spaces.Box(0, 255, (48, 32, 3), np.uint8), gym.spaces.Box(-1, 1, (2,), np.float32)
    return minari.create_dataset_from_buffers(
        "lerobot/frames-v0",
        episodes,
        observation_space=gym.spaces.Dict(image=image, state=state),
        action_space=state,
    )


def test_video_is_written_only_if_asked_for(tmp_path: Path) -> None:
    dataset = frames_dataset()
    report = export_dataset(dataset, tmp_path / "video", "lerobot", images="video", fps=10, robot_type="arm")
    assert any("video is lossy" in sentence for sentence in report.missing)
    assert len(list(tmp_path.rglob("*.mp4"))) == 2
    again = import_dataset(tmp_path / "video", "lerobot/video-v0")
    assert isinstance(again, minari.MinariDataset)
    for ours, theirs in zip(again, dataset, strict=True):
        assert_frames(ours.observations["image"][:-1], theirs.observations["image"][:-1])
        np.testing.assert_array_equal(ours.observations["image"][-1], theirs.observations["image"][-1])
    assert again.storage.metadata["lerobot"]["robot_type"] == "arm"
    export_dataset(dataset, tmp_path / "png", "lerobot")
    assert not list((tmp_path / "png").rglob("*.mp4"))


def test_statistics_are_those_of_the_values(tmp_path: Path) -> None:
    dataset = frames_dataset()
    export_dataset(dataset, tmp_path / "a", "lerobot")
    found = json.loads((tmp_path / "a/meta/stats.json").read_text())
    rewards = np.concatenate([episode.rewards for episode in dataset])
    np.testing.assert_allclose(found["next.reward"]["mean"], [rewards.mean()])
    np.testing.assert_allclose(found["next.reward"]["std"], [rewards.std()])
    frames = np.concatenate([episode.observations["image"][:-1] for episode in dataset]) / 255
    np.testing.assert_allclose(np.ravel(found["observation.image"]["std"]), frames.std(axis=(0, 1, 2)))
    assert np.shape(found["observation.image"]["mean"]) == (3, 1, 1)
    assert found["next.reward"]["count"] == [len(rewards)]


def test_changing_tasks_are_infos(tmp_path: Path) -> None:
    tasks = ["go", "go", "stop", "stop"]
    dataset = minari.create_dataset_from_buffers(
        "lerobot/tasks-v0",
        [
            EpisodeBuffer(
                observations=np.zeros((4, 2)),
                actions=np.zeros((3, 1)),
                rewards=np.zeros(3),
                terminations=np.zeros(3, np.bool_),
                truncations=np.arange(3) == 2,
                infos={"task": tasks},
            )
        ],
        observation_space=gym.spaces.Box(-1, 1, (2,), np.float64),
        action_space=gym.spaces.Box(-1, 1, (1,), np.float64),
    )
    export_dataset(dataset, tmp_path / "a", "lerobot")
    (tmp_path / "a/meta/minari.json").unlink()
    (episode,) = read(tmp_path / "a").episodes
    assert list(episode.infos["task"])[:3] == tasks[:3]
    assert episode.observations["state"].shape == (4, 2)  # the final one is still in the table of episodes


@pytest.mark.parametrize(
    ("space", "message"),
    [(gym.spaces.Sequence(gym.spaces.Discrete(3)), "no numbers or texts of a fixed shape")],
)
def test_other_spaces_are_refused(tmp_path: Path, space: gym.Space[Any], message: str) -> None:
    space.seed(1)
    buffer = EpisodeBuffer(
        observations=[space.sample(), space.sample()],
        actions=[0],
        rewards=[0.0],
        terminations=[True],
        truncations=[False],
    )
    dataset = minari.create_dataset_from_buffers(
        "lerobot/odd-v0", [buffer], observation_space=space, action_space=gym.spaces.Discrete(2)
    )
    with pytest.raises(InterchangeError, match=message):
        export_dataset(dataset, tmp_path / "a", "lerobot")
    assert list(tmp_path.iterdir()) == []


READER = """
import json, sys
import av, numpy as np, torch
from lerobot.datasets import lerobot_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset

def decode(path, times, tolerance, backend=None):  # as torchvision, whose reader its latest versions no longer have
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    found = [min(frames, key=lambda frame: abs(frame[0] - time)) for time in times]
    assert all(abs(frame[0] - time) <= tolerance for frame, time in zip(found, times))
    return torch.from_numpy(np.stack([pixels for _, pixels in found])).permute(0, 3, 1, 2) / 255

lerobot_dataset.decode_video_frames = decode
found = LeRobotDataset("local/x", root=sys.argv[1], video_backend="pyav")
rows = [found[i] for i in range(len(found))]
frames = [(row["observation.image"] * 255).round().numpy().astype(np.uint8).transpose(1, 2, 0) for row in rows]
np.save(sys.argv[2], np.stack(frames))
print(json.dumps([[row["next.reward"].item(), row["observation.state"].tolist(), row["action"].tolist(), row["task"]]
                  for row in rows]))
"""


@pytest.mark.integrations
@pytest.mark.parametrize("images", ["png", "video"])
def test_lerobot_opens_an_export(images: str, tmp_path: Path) -> None:
    python = os.environ.get("MINARI_LEROBOT_PYTHON")
    if not python:
        pytest.skip("MINARI_LEROBOT_PYTHON does not name a Python that has lerobot")
    dataset = frames_dataset()
    export_dataset(dataset, tmp_path / "a", "lerobot", images=images)
    arguments = [python, "-c", READER, str(tmp_path / "a"), str(tmp_path / "frames.npy")]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr
    rows = json.loads(answer.stdout.splitlines()[-1])
    assert [row[0] for row in rows] == [reward for episode in dataset for reward in episode.rewards]
    assert [row[1] for row in rows] == [state.tolist() for one in dataset for state in one.observations["state"][:-1]]
    assert [row[2] for row in rows] == [action.tolist() for episode in dataset for action in episode.actions]
    assert {row[3] for row in rows} == {"roll"}
    found = np.load(tmp_path / "frames.npy")
    expected = np.concatenate([episode.observations["image"][:-1] for episode in dataset])
    if images == "png":
        np.testing.assert_array_equal(found, expected)
    else:
        for first in (0, len(found) // 2):  # the episodes
            rows = slice(first, first + len(found) // 2)
            assert_frames(found[rows], expected[rows])
