"""Strips, animations and videos of pictures, read back with Pillow and PyAV."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image, ImageSequence

import minari
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.errors import ArgumentError, MissingDependencyError
from minari.inspection import EpisodeReader, clips
from minari.inspection.clips import Clip, frames_per_second, write_gif, write_mp4, write_strip


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

STEPS = 23


def moving(height: int, width: int, rows: int, colors: int = 5) -> np.ndarray:
    """Pictures in which a square moves over a background of a few colors."""
    rng = np.random.default_rng(height)
    palette = rng.integers(0, 256, (colors, 3), np.uint8)
    pixels = palette[rng.integers(0, colors, (height, width))][None].repeat(rows, axis=0)
    for row in range(rows):
        pixels[row, 2:6, row % (width - 3) :][:, :3] = palette[row % colors]
    return pixels


@pytest.fixture
def reader() -> EpisodeReader:
    buffer = EpisodeBuffer(
        observations={"front": moving(20, 31, STEPS + 1), "state": np.zeros((STEPS + 1, 2))},
        actions=np.zeros(STEPS, np.int64),
        rewards=np.zeros(STEPS),
        terminations=np.zeros(STEPS, bool),
        truncations=np.arange(STEPS) == STEPS - 1,
        infos={"wrist": moving(33, 9, STEPS + 1)},
    )
    space = spaces.Dict(front=spaces.Box(0, 255, (20, 31, 3), np.uint8), state=spaces.Box(-1, 1, (2,), np.float64))
    dataset = minari.create_dataset_from_buffers(
        "clips/a-v0", [buffer], observation_space=space, action_space=spaces.Discrete(2)
    )
    return EpisodeReader(dataset.storage, 0)


def expected_frames(reader: EpisodeReader) -> np.ndarray:
    """The frames with both cameras, by loops: 20 x 31 eight times as large, 33 x 9 five times."""
    front, wrist = reader.values("observations/front"), reader.values("infos/wrist")
    frames = np.zeros((STEPS + 1, 166, 298, 3), np.uint8)
    frames[:, 3:163, :248] = front.repeat(8, 1).repeat(8, 2)
    frames[:, :165, 252:297] = wrist.repeat(5, 1).repeat(5, 2)
    return frames


def read_gif(path: Path) -> tuple[np.ndarray, list[int]]:
    with Image.open(path) as image:
        frames = [(np.asarray(one.convert("RGB")), one.info["duration"]) for one in ImageSequence.Iterator(image)]
    return np.stack([pixels for pixels, _ in frames]), [duration for _, duration in frames]


def read_video(path: Path) -> tuple[np.ndarray, Any]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = stream.codec_context.pix_fmt, stream.codec_context.name, float(stream.average_rate)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), facts


def test_frames_are_side_by_side(reader: EpisodeReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "_CHUNK", 20 * 31 * 3 * 4)  # four pictures at once
    clip = Clip.of(reader)
    assert [name for name, _ in clip.cameras] == ["observations/front", "infos/wrist"]
    assert clip.shape == (166, 298)
    np.testing.assert_array_equal(np.stack(list(clip.frames())), expected_frames(reader))
    np.testing.assert_array_equal(np.stack(list(clip.frames(5))), expected_frames(reader)[::5])
    stretch = Clip.of(reader, (), 3, 9)
    assert len(stretch) == 6
    np.testing.assert_array_equal(np.stack(list(stretch.frames())), expected_frames(reader)[3:9])
    assert len(Clip.of(reader, (), 20, 99)) == 4


def test_a_strip_has_the_pixels_of_evenly_spaced_pictures(reader: EpisodeReader, tmp_path: Path) -> None:
    clip = Clip.of(reader)
    write_strip(tmp_path / "strip.png", clip, 4)
    with Image.open(tmp_path / "strip.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (20 + 4 + 33, 4 * (31 + 4) - 4, 4)
    steps = [0, 8, 15, 23]
    assert clip.spread("infos/wrist", 4)[0].tolist() == steps
    for place, step in enumerate(steps):
        front = pixels[:20, 35 * place :][:, :31]
        np.testing.assert_array_equal(front[..., :3], reader.values("observations/front")[step])
        np.testing.assert_array_equal(pixels[24:, 13 * place :][:, :9, :3], reader.values("infos/wrist")[step])
        assert (front[..., 3] == 255).all()
    assert (pixels[:20, 31:35, 3] == 0).all()
    assert clip.spread("infos/wrist", 1)[0].tolist() == [0]


@pytest.mark.parametrize("fps", [30.0, 12.5, 50.0, 7.0])
def test_a_gif_of_few_colors_is_exact(reader: EpisodeReader, tmp_path: Path, fps: float) -> None:
    write_gif(tmp_path / "a.gif", Clip.of(reader), fps)
    frames, durations = read_gif(tmp_path / "a.gif")
    np.testing.assert_array_equal(frames, expected_frames(reader))
    assert abs(sum(durations) - 1000 * (STEPS + 1) / fps) <= 5
    assert max(durations) - min(durations) <= 10
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["loop"] == 0


def test_a_fast_gif_has_every_other_picture(reader: EpisodeReader, tmp_path: Path) -> None:
    write_gif(tmp_path / "a.gif", Clip.of(reader), 100.0)
    frames, durations = read_gif(tmp_path / "a.gif")
    np.testing.assert_array_equal(frames, expected_frames(reader)[::2])
    assert set(durations) == {20}


def test_pictures_that_do_not_change_stay(tmp_path: Path, reader: EpisodeReader) -> None:
    still = np.full((3, 16, 16, 3), 7, np.uint8)
    buffer = EpisodeBuffer(
        observations=still, actions=[0, 0], rewards=[0.0, 0.0], terminations=[False] * 2, truncations=[False] * 2
    )
    dataset = minari.create_dataset_from_buffers(
        "clips/still-v0",
        [buffer],
        observation_space=spaces.Box(0, 255, (16, 16, 3), np.uint8),
        action_space=spaces.Discrete(2),
    )
    write_gif(tmp_path / "a.gif", Clip.of(EpisodeReader(dataset.storage, 0)), 10.0)
    frames, durations = read_gif(tmp_path / "a.gif")
    assert (frames == 7).all()
    assert sum(durations) == 300


@pytest.mark.parametrize("fps", [30.0, 12.5])
def test_a_video_has_the_frames(reader: EpisodeReader, tmp_path: Path, fps: float) -> None:
    write_mp4(tmp_path / "a.mp4", Clip.of(reader), fps)
    frames, facts = read_video(tmp_path / "a.mp4")
    assert facts == ("yuv420p", "h264", fps)
    expected = expected_frames(reader)
    assert frames.shape == expected.shape
    assert np.abs(frames.astype(int) - expected).mean() < 12  # colors have half the resolution, and noise many edges
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    reader: EpisodeReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Clip, stride: int = 1) -> Any:
        yield np.zeros((*self.shape, 3), np.uint8)
        raise KeyboardInterrupt

    pytest.importorskip("av")
    (tmp_path / "a.mp4").write_bytes(b"old")
    monkeypatch.setattr(Clip, "frames", fail)
    for write, name in ((write_mp4, "a.mp4"), (write_gif, "a.gif")):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name, Clip.of(reader), 30.0)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.mp4", b"old")]


def test_agents_are_shown_at_the_same_step() -> None:
    """An agent that acts at some steps shows its latest picture at the others."""

    def trajectory(steps: int, first: int) -> EpisodeBuffer:
        pictures = np.arange(first, first + steps + 1, dtype=np.uint8)[:, None, None].repeat(9, 1).repeat(9, 2)
        return EpisodeBuffer(
            observations=pictures, actions=[0] * steps, rewards=[0.0] * steps,
            terminations=[False] * steps, truncations=[False] * steps,
        )  # fmt: skip

    buffer = MultiAgentEpisodeBuffer({"a": trajectory(4, 0), "b": trajectory(2, 100)}, {"b": [1, 3, 4]}, 4)
    box = spaces.Box(0, 255, (9, 9), np.uint8)
    dataset = minari.create_dataset_from_buffers(
        "clips/agents-v0",
        [buffer],
        observation_space={"a": box, "b": box},
        action_space=dict.fromkeys("ab", spaces.Discrete(2)),
    )
    clip = Clip.of(EpisodeReader(dataset.storage, 0))
    frames = list(clip.frames())
    assert [(int(one[0, 0, 0]), int(one[0, -1, 0])) for one in frames] == [
        (0, 100), (1, 100), (2, 100), (3, 101), (4, 102),
    ]  # fmt: skip


def test_wrong_cameras_and_steps(reader: EpisodeReader) -> None:
    for start, stop in ((5, 5), (9, 3), (24, None)):
        with pytest.raises(ArgumentError, match="Episode 0 has pictures at the steps 0 to 23, of which the range from"):
            Clip.of(reader, (), start, stop)
    with pytest.raises(ArgumentError, match="'rewards' has no pictures, expected one of 'observations/front', 'infos/"):
        Clip.of(reader, ["observations/front", "rewards"])
    with pytest.raises(ArgumentError, match="has no leaf 'observations/fornt'; the nearest names are 'observations/fr"):
        Clip.of(reader, ["observations/fornt"])
    blind = minari.create_dataset_from_arrays(
        "clips/blind-v0", observations=np.zeros(3), actions=np.zeros(2), rewards=np.zeros(2), terminations=[0, 1]
    )
    with pytest.raises(ArgumentError, match="Episode 0 has no pictures, expected a leaf of them"):
        Clip.of(EpisodeReader(blind.storage, 0))


def test_sides_are_bounded(tmp_path: Path) -> None:
    """A wide picture is not enlarged until it fills the memory, and one that no format holds is refused."""

    def clip(number: int, height: int, width: int) -> Clip:
        buffer = EpisodeBuffer(
            observations=np.zeros((2, height, width), np.uint8), actions=[0], rewards=[0.0], terminations=[True],
            truncations=[False],
        )  # fmt: skip
        dataset = minari.create_dataset_from_buffers(
            f"clips/wide-v{number}",
            [buffer],
            observation_space=spaces.Box(0, 255, (height, width), np.uint8),
            action_space=spaces.Discrete(2),
        )
        return Clip.of(EpisodeReader(dataset.storage, 0))

    assert clip(0, 8, 1000).shape == (16, 2000)
    assert clip(1, 8, 5000).shape == (8, 5000)
    for write in (write_gif, write_mp4):
        with pytest.raises(ArgumentError, match=r"have the shape \(8, 9000\), expected sides of at most 8192"):
            write(tmp_path / "a", clip(2 + (write is write_gif), 8, 9000), 30.0)


def test_speeds() -> None:
    assert frames_per_second() == frames_per_second({"fps": True}, {"fps": 0}, {"lerobot": "x"}) == 30
    assert frames_per_second({"render_fps": 20, "fps": 5}, {"fps": 10}) == 20
    assert frames_per_second({}, {"lerobot": {"fps": 15.0}}) == 15
    assert frames_per_second({"fps": float("nan")}, {"fps": 1e9}, {"fps": "10"}) == 30


@pytest.mark.parametrize(("module", "write", "extra"), [("PIL", write_gif, "image"), ("av", write_mp4, "video")])
def test_missing_libraries(
    reader: EpisodeReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, write: Any, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf'run pip install "minari\[{extra}\]"'):
        write(tmp_path / "a", Clip.of(reader), 30.0)
    assert list(tmp_path.iterdir()) == []
    write_strip(tmp_path / "strip.png", Clip.of(reader))  # needs none of them
