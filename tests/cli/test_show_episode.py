"""``minari show --episode``: on a terminal, to a file, as JSON; its pictures are decoded again."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

import minari
from cli.conftest import MakeDataset, Minari, environment
from minari.cli.pictures import Cell, Grid, drawn, grid_for, supported
from minari.cli.show_episode import sparkline
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.inspection.images import resized
from support.terminals import plain, run_inside_terminal


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning", "ignore::UserWarning")

STEPS = 30
HOSTILE = "\x1b]0;owned\x07 \u202eevil\n\x1b[2J"
on_terminals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
Terminal = Callable[..., tuple[int, str]]


@pytest.fixture
def terminal(datasets_root: Path, tmp_path: Path) -> Terminal:
    """A function that runs a command on a terminal; keywords in capitals are environment variables."""

    def run_minari(*arguments: str, **options: Any) -> tuple[int, str]:
        unknown = ("COLORTERM", "KITTY_WINDOW_ID", "LC_TERMINAL", "NO_COLOR", "STY", "TERM_PROGRAM", "TMUX")
        variables = {name: value for name, value in environment(datasets_root).items() if name not in unknown}
        variables |= {name: value for name, value in options.items() if name.isupper()}
        others = {name: value for name, value in options.items() if not name.isupper()}
        code, written = run_inside_terminal(arguments, {"TERM": "xterm-256color", **variables}, tmp_path, **others)
        assert "Traceback" not in written
        return code, written

    return run_minari


def camera(rows: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Pictures with few colors, each different."""
    pixels = np.zeros((rows, height, width, 3), np.uint8)
    pixels[:, : height // 2] = (250, 10, 130)
    for row in range(rows):
        pixels[row, 4:9, row % width] = (0, 255, 8 * row % 256)
    return pixels


@pytest.fixture
def frames(datasets_root: Path) -> minari.MinariDataset:
    def episode(steps: int) -> EpisodeBuffer:
        rows = steps + 1
        numbers = np.linspace(-1, 1, rows)[:, None].repeat(2, 1)
        numbers[min(3, steps), 1] = np.nan
        return EpisodeBuffer(
            seed=7,
            options={"goal": np.array([0.5, 0.25]), "level": 3},
            observations={
                "camera": camera(rows),
                "numbers": numbers,
                "task": ["go"] * (rows // 2) + [HOSTILE] * (rows - rows // 2),
            },
            actions=np.zeros((steps, 40)),
            rewards=[0.0] * (steps - 1) + [5.0],
            terminations=[False] * (steps - 1) + [True],
            truncations=[False] * steps,
            infos={"success": np.arange(rows) == steps, "wrist": camera(rows, 12, 10)},
            metadata={"operator": HOSTILE},
        )

    box = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    space = spaces.Dict(
        camera=spaces.Box(0, 255, (24, 32, 3), np.uint8),
        numbers=box,
        task=spaces.Text(100, charset=frozenset(HOSTILE + "go")),
    )
    return minari.create_dataset_from_buffers(
        "show/frames-v0",
        [episode(STEPS), episode(1)],
        observation_space=space,
        action_space=spaces.Box(-1, 1, (40,), np.float64),
    )


def table(lines: list[str]) -> dict[str, list[str]]:
    """The rows of the table of leaves by their names: cells are apart by two spaces or more."""
    start = next(number for number, line in enumerate(lines) if line.startswith("Leaf "))
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines[start + 2 :]]
    return {row[0]: row[1:] for row in reversed(rows)}  # the first one of a name


def test_an_episode_and_its_leaves(run: Minari, frames: minari.MinariDataset) -> None:
    done = run("show", "show/frames-v0", "--episode", "0", COLUMNS="120")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "show/frames-v0, episode 0"
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in done.lines[1:8])
    evil = "� evil".replace(" e", " �e")
    assert facts == {
        "length": "30 steps", "return": "5", "end": "terminated", "seed": "7",
        "options/goal": "[0.5, 0.25]", "options/level": "3", "operator": f"�]0;owned{evil}",
    }  # fmt: skip
    rows = table(done.lines)
    assert rows["observations/camera"] == ["uint8 (24, 32, 3)", "31 pictures"]
    assert rows["observations/numbers"] == ["float64 (2,)", "-1 to 1"]
    assert rows["[0]"][0] == "-1 to 1"
    assert list(dict.fromkeys(rows["[0]"][1])) == list("▁▂▃▄▅▆▇")
    assert rows["observations/task"] == ["text", "1 change", "0", "go"]
    assert rows["15"] == [f"�]0;owned{evil}"]
    assert rows["actions"] == ["float64 (40,)", "0"]
    assert rows["…"] == ["28 more: --leaf actions"]
    assert rows["rewards"][:2] == ["float64", "0 to 5, not 0 at 29"]
    assert set(rows["rewards"][2]) == {"▁", "▇"}
    assert rows["terminations"][:2] == ["bool", "True at 29"]
    assert rows["truncations"] == ["bool", "never True"]
    assert rows["infos/success"][:2] == ["bool", "True at 30"]
    assert done.lines[-1] == "--save strip.png, --gif and --mp4 write the pictures to files."
    assert max(map(len, done.lines)) <= 120


def test_all_components_of_a_leaf_that_is_asked_for(run: Minari, frames: minari.MinariDataset) -> None:
    rows = table(run("show", "show/frames-v0", "--episode", "0", "--leaf", "actions", "--leaf", "rewards").lines)
    assert list(rows) == ["actions", *(f"[{number}]" for number in range(40)), "rewards"][::-1]
    numbers = table(run("show", "show/frames-v0", "--episode", "0", "--leaf", "observations/numbers").lines)
    assert numbers["[1]"][0] == "-1 to 1, 1 NaN"
    assert " " in numbers["[1]"][1]


@pytest.mark.parametrize("columns", ["20", "40", "80", "200"])
def test_narrow_terminals(run: Minari, frames: minari.MinariDataset, columns: str) -> None:
    done = run("show", "show/frames-v0", "--episode", "0", COLUMNS=columns)
    assert done.code == 0
    assert max(map(len, done.lines[:-1])) <= int(columns)
    assert "episode 0" in " ".join(done.lines[:2])


def test_one_step(run: Minari, frames: minari.MinariDataset) -> None:
    done = run("show", "show/frames-v0", "--episode", "1", COLUMNS="100")
    rows = table(done.lines)
    assert done.lines[1].split() == ["length", "1", "step"]
    assert rows["rewards"] == ["float64", "5"]
    assert rows["infos/success"][:2] == ["bool", "True at 1"]
    assert len(rows["[0]"][1]) == 2


def test_plain_characters(run: Minari, frames: minari.MinariDataset) -> None:
    done = run("show", "show/frames-v0", "--episode", "0", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.code == 0
    assert done.out.isascii()
    assert list(dict.fromkeys(table(done.lines)["[0]"][1])) == list("_.:-=+#")


def test_many_agents(run: Minari, datasets_root: Path) -> None:
    def trajectory(steps: int, reward: float) -> EpisodeBuffer:
        return EpisodeBuffer(
            observations=np.linspace(0, 1, steps + 1), actions=[1] * steps, rewards=[reward] * steps,
            terminations=[False] * steps, truncations=[False] * (steps - 1) + [True],
        )  # fmt: skip

    buffer = MultiAgentEpisodeBuffer(
        {"wolf": trajectory(8, 1.0), "hen": trajectory(3, -2.0)},
        {"hen": [2, 3, 5, 8]},
        8,
        state={"wind": np.arange(9.0)},
    )
    agents = dict.fromkeys(("wolf", "hen"), spaces.Box(0, 1, (), np.float64))
    minari.create_dataset_from_buffers(
        "show/agents-v0", [buffer], observation_space=agents, action_space=dict.fromkeys(agents, spaces.Discrete(2))
    )
    done = run("show", "show/agents-v0", "--episode", "0", COLUMNS="100")
    lines = [re.split(r"\s{2,}", line.strip()) for line in done.lines]
    assert ["return", "2"] in lines
    heads = {line[0]: line[1:] for line in lines if line[0].startswith("agents/")}
    assert heads == {
        "agents/wolf": ["8 steps, return 8, truncated"], "agents/hen": ["3 steps, return -6, truncated"],
    }  # fmt: skip
    hen = next(number for number, line in enumerate(done.lines) if "agents/hen" in line)
    assert done.lines[hen + 1].endswith(" ▁▃ ▅  ▇")  # at the joint steps 2, 3, 5 and 8
    assert any(line[0] == "state/wind" for line in lines)
    described = json.loads(run("show", "show/agents-v0", "--episode", "0", "--json").out)
    assert described["agents"]["hen"] == {"length": 3, "return": -6.0, "terminated": False, "truncated": True}


def test_json(run: Minari, frames: minari.MinariDataset) -> None:
    done = run("show", "show/frames-v0", "--episode", "0", "--json")
    described = json.loads(done.out, parse_constant=pytest.fail)
    leaves = {leaf["name"]: leaf for leaf in described.pop("leaves")}
    assert described == {
        "dataset_id": "show/frames-v0", "episode": 0, "length": 30, "return": 5.0, "terminated": True,
        "truncated": False, "seed": 7, "options": {"goal": [0.5, 0.25], "level": 3},
        "metadata": {**described["metadata"], "operator": HOSTILE},
    }  # fmt: skip
    assert list(leaves) == [
        "observations/camera", "observations/numbers", "observations/task", "actions", "rewards", "terminations",
        "truncations", "infos/success", "infos/wrist",
    ]  # fmt: skip
    assert leaves["observations/numbers"]["components"][1] == {
        "label": "1", "min": -1.0, "max": 1.0, "nan": 1, "infinite": 0,
    }  # fmt: skip
    assert leaves["observations/task"]["texts"] == [{"step": 0, "text": "go"}, {"step": 15, "text": HOSTILE}]
    assert leaves["infos/success"]["components"] == [{"label": "", "true": [30]}]
    assert (leaves["infos/wrist"]["kind"], leaves["infos/wrist"]["rows"]) == ("frames", 31)
    assert len(leaves["actions"]["components"]) == 40


def test_files(run: Minari, frames: minari.MinariDataset, tmp_path: Path) -> None:
    pytest.importorskip("av")
    show = ("show", "show/frames-v0", "--episode", "0")
    done = run(*show, "--save", "strip.png", "--gif", "a.gif", "--mp4", "a.mp4")
    done.assert_done(
        "strip.png: pictures of observations/camera, infos/wrist, evenly spaced over the steps 0 to 30",
        "a.gif: 31 pictures of observations/camera, infos/wrist, 30 a second",
        "a.mp4: 31 pictures of observations/camera, infos/wrist, 30 a second",
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["a.gif", "a.mp4", "strip.png"]
    old = (tmp_path / "a.gif").read_bytes()
    run(*show, "--gif", "a.gif").assert_refused("a.gif already exists and is not overwritten; --force replaces it")
    assert (tmp_path / "a.gif").read_bytes() == old
    some = run(*show, "--gif", "a.gif", "--force", "--frames", "3:8", "--leaf", "infos/wrist")
    some.assert_done("a.gif: 5 pictures of infos/wrist, 30 a second")
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size) == (5, (140, 168))


def test_mistakes(run: Minari, frames: minari.MinariDataset, make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset("toy/a-v0", [3])
    show = ("show", "show/frames-v0", "--episode")
    for number in ("-1", "2", "99999999999999999999"):
        run(*show, number).assert_refused(
            f"There is no episode {number} in show/frames-v0, expected a number from 0 to 1"
        )
    assert run(*show, "first").code == 2
    run(*show, "0", "--leaf", "observations/camra").assert_refused("has no leaf", "'observations/camera'")
    run(*show, "0", "--frames", "5-9").assert_refused("--frames is '5-9', expected START:STOP", code=2)
    run(*show, "0", "--frames", "-5:9").assert_refused("--frames is '-5:9', expected START:STOP", code=2)
    run(*show, "0", "--frames", "9:5", "--save", "a.png").assert_refused("pictures at the steps 0 to 30, of which")
    run(*show, "0", "--save", ".").assert_refused("is a directory, expected the path of a new file")
    run(*show, "0", "--save", "no/a.png").assert_refused("There is no directory no, in which a.png is to be written")
    run("show", "toy/a-v0", "--episode", "0", "--gif", "a.gif").assert_refused("Episode 0 has no pictures, expected")
    run("show", "toy/a-v0", "--gif", "a.gif").assert_refused("--gif is given without --episode", code=2)
    run("show", "toy/a-v0", "--leaf", "rewards").assert_refused("--leaf is given without --episode", code=2)
    run("show", "toy/b-v0", "--episode", "0").assert_refused("There is no dataset toy/b-v0")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_addresses(run: Minari, frames: minari.MinariDataset) -> None:
    pytest.importorskip("fsspec")
    address = frames.storage.data_path.parent.as_uri()
    assert run("show", address, "--episode", "0").out == run("show", "show/frames-v0", "--episode", "0").out
    run("show", "memory://nowhere/a-v0", "--episode", "0").assert_refused("No data found in data path memory://nowhere")
    run("show", "nothing://nowhere/a-v0", "--episode", "0").assert_refused("cannot be read in place", "minari download")


def test_values_of_any_kind(run: Minari) -> None:
    space = spaces.Dict(
        {
            "bag": spaces.Sequence(spaces.Discrete(5)),
            "one": spaces.Box(0, 1, (1,), np.float64),
            "none": spaces.Box(0, 1, (0,), np.float64),
            HOSTILE: spaces.MultiBinary(2),
            "same": spaces.Text(9),
        }
    )
    values = {
        "bag": [(1,), (2, 3)], "one": np.array([[0.25], [0.5]]), "none": np.zeros((2, 0)),
        HOSTILE: np.eye(2, dtype=np.int8), "same": ["go", "go"],
    }  # fmt: skip
    buffer = EpisodeBuffer(observations=values, actions=[1], rewards=[-1.0], terminations=[True], truncations=[True])
    minari.create_dataset_from_buffers(
        "show/odd-v0", [buffer], observation_space=space, action_space=spaces.Discrete(2)
    )
    done = run("show", "show/odd-v0", "--episode", "0", COLUMNS="160")
    rows = table(done.lines)
    assert rows["observations/bag"] == ["object", "(1)"]
    assert rows["observations/one"] == ["float64 (1,)", "0.25 to 0.5", "▁▇"]
    assert rows["observations/none"] == ["float64 (0,)"]
    assert rows["observations/same"] == ["text", "no change", "go"]
    (hostile,) = (row for name, row in rows.items() if "owned" in name)
    assert hostile == ["int8 (2,)", "0 to 1"]
    assert dict(re.split(r"\s{2,}", line) for line in done.lines[1:5])["end"] == "terminated and truncated"


def test_damaged_data_is_one_sentence(run: Minari, frames: minari.MinariDataset) -> None:
    (frames.storage.data_path / "main_data.hdf5").write_bytes(b"not HDF5")
    run("show", "show/frames-v0", "--episode", "0").assert_refused()


# Terminals


def png(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def kitty_pictures(written: str) -> list[tuple[dict[str, str], np.ndarray]]:
    """The pictures that are sent to kitty, each with its options; parts are put together."""
    found: list[tuple[dict[str, str], str]] = []
    is_more = False
    for options_text, data in re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", written):
        assert len(data) <= 4096
        options = dict(option.split("=") for option in options_text.split(","))
        if is_more:
            assert options.keys() == {"m"}
            found[-1] = found[-1][0], found[-1][1] + data
        else:
            found.append((options, data))
        is_more = options["m"] == "1"
    assert not is_more
    return [(options, png(base64.b64decode(data, validate=True))) for options, data in found]


def sixel_picture(data: str) -> np.ndarray:
    """The pixels of a picture in sixel, transparent where nothing is drawn."""
    start, body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+;\d+)(.*)\x1b\\', data, re.DOTALL).groups()  # type: ignore[union-attr]
    width, height = map(int, start.split(";"))
    pixels = np.zeros((height, width, 4), np.uint8)
    colors: dict[int, np.ndarray] = {}
    color = row = column = 0
    for token in re.findall(r"#\d+(?:;2;\d+;\d+;\d+)?|!\d+[?-~]|[?-~]|\$|-", body):
        if token.startswith("#"):
            color, *percent = map(int, token[1:].replace(";2;", ";").split(";"))
            if percent:
                colors[color] = np.array([round(255 * one / 100) for one in percent] + [255])
        elif token == "$":
            column = 0
        elif token == "-":
            row, column = row + 6, 0
        else:
            run = int(token[1:-1]) if token.startswith("!") else 1
            bits = ord(token[-1]) - 63
            for bit in range(6):
                if bits >> bit & 1:
                    pixels[row + bit, column : column + run] = colors[color]
            column += run
    assert "".join(re.findall(r"#\d+(?:;2;\d+;\d+;\d+)?|!\d+[?-~]|[?-~]|\$|-", body)) == body
    return pixels


def block_pictures(written: str) -> list[np.ndarray]:
    """The pixels of each run of lines that are drawn with half blocks."""
    color = r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀"
    lines = [np.array(re.findall(color, line), np.uint8).reshape(-1, 2, 3) for line in written.splitlines()]
    pictures: list[list[np.ndarray]] = [[]]
    for line in lines:
        if len(line):
            pictures[-1].append(line)
        elif pictures[-1]:
            pictures.append([])
    return [np.concatenate([np.moveaxis(line, 1, 0) for line in one]) for one in pictures if one]


def expected_strip(pictures: np.ndarray, gap: int) -> np.ndarray:
    height, width = pictures.shape[1:3]
    strip = np.zeros((height, len(pictures) * (width + gap) - gap, 4), np.uint8)
    for place, picture in enumerate(pictures):
        strip[:, place * (width + gap) :][:, :width, :3] = picture
        strip[:, place * (width + gap) :][:, :width, 3] = 255
    return strip


def steps_below(written: str, name: str) -> list[int]:
    lines = [
        line for line in plain(re.sub(r"\x1b[_P].*?\x1b\\|\x1b\]1337.*?\x07", "", written)).splitlines() if line.strip()
    ]
    return [int(step) for step in lines[lines.index(name) + 1 :][0].split()]


@on_terminals
def test_kitty(terminal: Terminal, frames: minari.MinariDataset) -> None:
    code, written = terminal("show", "show/frames-v0", "--episode", "0", cell=(10, 20), TERM="xterm-kitty")
    assert code == 0
    (options, strip), (_, wrist) = kitty_pictures(written)
    assert {name: options[name] for name in ("a", "f", "q")} == {"a": "T", "f": "100", "q": "2"}
    steps = steps_below(written, "observations/camera")
    assert (steps[0], steps[-1], len(steps)) == (0, 30, 4)
    columns, rows = int(options["c"]), int(options["r"])
    assert columns <= 100
    frame_columns = (columns - 3) // 4
    assert abs(frame_columns / rows - 2 * 32 / 24) < 0.2
    np.testing.assert_array_equal(
        strip, expected_strip(frames[0].observations["camera"][steps], round(32 / frame_columns))
    )
    np.testing.assert_array_equal(wrist[:, :10, :3], frames[0].infos["wrist"][0])


@on_terminals
def test_iterm(terminal: Terminal, frames: minari.MinariDataset) -> None:
    show = ("show", "show/frames-v0", "--episode", "0", "--leaf", "observations/camera", "--frames", "3:5")
    code, written = terminal(*show, TERM_PROGRAM="iTerm.app")
    assert code == 0
    ((options, data),) = re.findall(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", written)
    content = base64.b64decode(data, validate=True)
    given = dict(option.split("=") for option in options.split(";"))
    assert (given["inline"], given["preserveAspectRatio"], int(given["size"])) == ("1", "0", len(content))
    frame_columns = (int(given["width"]) - 1) // 2
    gap = max(round(32 / frame_columns), 1)
    np.testing.assert_array_equal(png(content), expected_strip(frames[0].observations["camera"][3:5], gap))
    assert steps_below(written, "observations/camera") == [3, 4]


@on_terminals
def test_sixel_if_the_terminal_says_so(terminal: Terminal, frames: minari.MinariDataset) -> None:
    show = ("show", "show/frames-v0", "--episode", "0", "--leaf", "observations/camera", "--frames", "7:9")
    code, written = terminal(*show, cell=(10, 20), attributes=b"\x1b[?62;4;22c")
    assert code == 0
    (data,) = re.findall(r"\x1bP.*?\x1b\\", written, re.DOTALL)
    found = sixel_picture(data)
    height, width = 10 * 20 // 6 * 6, (found.shape[1] - 10) // 2
    assert width % 10 == 0
    strip = expected_strip(resized(frames[0].observations["camera"][7:9], height, width), 10)
    assert found.shape == strip.shape
    np.testing.assert_array_equal(found[..., 3], strip[..., 3])
    assert np.abs(found[..., :3].astype(int) - strip[..., :3]).max() <= 2  # colors are percentages
    assert "[?62" not in plain(re.sub(r"\x1bP.*?\x1b\\", "", written, flags=re.DOTALL))  # the answer is not echoed


@on_terminals
def test_without_sixel_there_are_characters(terminal: Terminal, frames: minari.MinariDataset) -> None:
    show = ("show", "show/frames-v0", "--episode", "0", "--leaf", "observations/camera", "--frames", "7:9")
    code, written = terminal(*show, attributes=b"\x1b[?64;1;2;22c", COLORTERM="truecolor", columns=80)
    assert code == 0
    assert "\x1bP" not in written
    (found,) = block_pictures(written)
    pictures = frames[0].observations["camera"][7:9]
    expected = resized(pictures, found.shape[0], found.shape[1] // 2)
    np.testing.assert_array_equal(found, np.concatenate(list(expected), axis=1))


@on_terminals
def test_a_terminal_without_pictures(terminal: Terminal, frames: minari.MinariDataset) -> None:
    code, written = terminal("show", "show/frames-v0", "--episode", "0", attributes=b"\x1b[?62c")
    assert code == 0
    assert "▀" not in written
    assert "--save strip.png" in plain(written)
    assert "owned" in written
    assert "\x1b]0" not in written


@on_terminals
def test_a_terminal_that_does_not_answer_is_waited_for_a_moment(
    terminal: Terminal, frames: minari.MinariDataset
) -> None:
    code, written = terminal("show", "show/frames-v0", "--episode", "0", COLORTERM="24bit")
    assert code == 0
    assert len(block_pictures(written)) == 2


@on_terminals
@pytest.mark.parametrize(("way", "term"), [("sixel", "dumb"), ("none", "xterm-kitty")])
def test_a_way_can_be_asked_for(frames: minari.MinariDataset, terminal: Terminal, way: str, term: str) -> None:
    code, written = terminal("show", "show/frames-v0", "--episode", "0", "--pictures", way, TERM=term)
    assert code == 0
    signs = {"kitty": "\x1b_G", "iterm": "\x1b]1337", "sixel": "\x1bP", "blocks": "▀"}
    assert [name for name, sign in signs.items() if sign in written] == ([] if way == "none" else [way])


# The parts


@pytest.mark.parametrize(
    ("variables", "has_sixel", "way"),
    [
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, False, "none"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "COLORTERM": "truecolor"}, True, "sixel"),
        ({"TERM": "screen", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}, False, "blocks"),
        ({"TERM": "xterm-ghostty"}, False, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, False, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, False, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, False, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, False, "iterm"),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, True, "none"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, False, "none"),
        ({"TERM": "xterm-256color", "COLORTERM": "yes"}, False, "none"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "mintty"}, False, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "COLORTERM": "truecolor"}, True, "sixel"),
        ({}, True, "none"),
    ],
)
def test_what_terminals_support(variables: dict[str, str], has_sixel: bool, way: str) -> None:
    assert supported(variables, lambda: has_sixel) == way


@pytest.mark.parametrize("cell", [Cell(), Cell(10, 20), Cell(9, 18), Cell(12, 12)])
@pytest.mark.parametrize("columns", [1, 10, 60, 100, 300])
@pytest.mark.parametrize(("height", "width"), [(84, 84), (8, 500), (500, 8), (480, 640)])
def test_pictures_fit(cell: Cell, columns: int, height: int, width: int) -> None:
    for number in (1, 2, 1000):
        grid = grid_for(height, width, columns, number, cell)
        assert 1 <= grid.number <= number
        assert 1 <= grid.rows <= 10
        assert grid.number * (grid.columns + 1) - 1 <= columns
        if min(grid.columns, grid.rows) > 3 and grid.columns < columns:
            shape = grid.columns * cell.width / (grid.rows * cell.height)
            assert 0.7 < shape / (width / height) < 1.4


def test_pictures_of_many_colors_in_sixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), np.uint8)
    found = sixel_picture(drawn(pixels, Grid(1, 8, 3), "sixel", Cell(8, 16)).rstrip("\n"))
    assert found.shape == (48, 64, 4)
    assert np.abs(found[..., :3].astype(int) - pixels[0]).mean() < 20


def test_sparklines() -> None:
    assert sparkline(np.arange(7.0), 10) == "▁▂▃▄▅▆▇"
    assert sparkline(np.array([np.nan, 1.0, np.inf, 1.0]), 10) == " ▁ ▁"
    assert sparkline(np.array([1.0, 1.0]), 10, (0.0, 1.0)) == "▇▇"
    assert sparkline(np.array([-1.7e308, 1.7e308]), 10) == "▁▇"
    assert sparkline(np.full(3, np.nan), 10) == "   "
    assert sparkline(np.zeros(0), 10) == ""
    assert len(sparkline(np.arange(1000.0), 33)) == 33
