"""``minari edit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from cli.conftest import MakeDataset, Minari
from minari.data_collector import EpisodeBuffer
from support.scripted import listing


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> Any:
    return make_dataset("toy/a-v0", [3, 5, 2, 4])


def test_edit_says_what_it_does(run: Minari, dataset: Any, datasets_root: Path) -> None:
    place = datasets_root / "toy" / "a-v0"
    changes = (
        "--set",
        "gain=0.5",
        "--set",
        "note=a=b",
        "--set-episode",
        "0,2-3",
        "task=[1]",
        "--set-episode",
        "0",
        "k=v",
    )
    run("edit", "toy/a-v0", *changes).assert_done(
        f"Dataset toy/a-v0 edited: 4 episodes, 14 steps, at {place}",
        "  Sets gain to 0.5.",
        "  Sets note to 'a=b'.",
        "  Sets task of episodes 0, 2-3 to [1].",
        "  Sets k of episode 0 to 'v'.",
    )
    run("edit", "toy/a-v0", "--set", "gain=0.5").assert_done(
        "Dataset toy/a-v0 is like that already: 4 episodes, 14 steps; nothing was changed."
    )
    run("edit", "toy/a-v0", "--remove", "gain", "--remove-episode-key", "k", "--yes").assert_done(
        f"Dataset toy/a-v0 edited: 4 episodes, 14 steps, at {place}",
        "  Removes gain, which was 0.5.",
        "  Removes k of episode 0.",
    )
    run("edit", str(place), "--drop-episodes", "1,3-3", "-y").assert_done(
        f"Dataset toy/a-v0 edited: 2 episodes, 5 steps, at {place}",
        "  Drops 2 of 4 episodes (episodes 1, 3), 9 of 14 steps.",
    )
    assert [len(episode) for episode in minari.load_dataset("toy/a-v0")] == [3, 2]


def test_new_dataset_is_made_without_a_question(run: Minari, dataset: Any, datasets_root: Path) -> None:
    run("edit", "toy/a-v0", "--drop-episodes", "0", "--as", "best/b-v1").assert_done(
        f"Dataset best/b-v1 made from toy/a-v0: 3 episodes, 11 steps, at {datasets_root / 'best' / 'b-v1'}",
        "  Drops 1 of 4 episodes (episode 0), 3 of 14 steps.",
    )
    assert len(minari.load_dataset("toy/a-v0")) == 4


@pytest.mark.parametrize(("answer", "left"), [("y\n", 3), ("n\n", 4), ("", 4)])
def test_dropping_in_place_asks(run: Minari, dataset: Any, answer: str, left: int) -> None:
    done = run("edit", "toy/a-v0", "--drop-episodes", "0", answer=answer)
    assert "Drops 1 of 4 episodes (episode 0)" in done.out
    assert "Are you sure you want to edit it in place? [y/N]: " in done.out
    assert (done.code == 0) == (left == 3)
    assert len(minari.load_dataset("toy/a-v0")) == left


def test_keep(run: Minari, dataset: Any) -> None:
    done = run("edit", "toy/a-v0", "--keep", "length > 2 and id != 3", "--as", "toy/b-v0")
    assert done.lines[1:] == ["  Drops 2 of 4 episodes (episodes 2-3), 6 of 14 steps."]
    place = minari.load_dataset("toy/a-v0").storage.data_path.parent
    run("edit", "toy/a-v0", "--keep", "length > 0").assert_done(
        "Dataset toy/a-v0 is like that already: 4 episodes, 14 steps; nothing was changed."
    )
    run("edit", str(place), "--keep", "lenght > 0").assert_refused("'lenght'", "the nearest name is 'length'")


def test_dry_run_and_json(run: Minari, dataset: Any, datasets_root: Path) -> None:
    before = listing(datasets_root)
    run("edit", "toy/a-v0", "--drop-episodes", "0", "--dry-run").assert_done(
        "Dataset toy/a-v0 would have 3 episodes, 11 steps; nothing was changed.",
        "  Drops 1 of 4 episodes (episode 0), 3 of 14 steps.",
    )
    report = json.loads(run("edit", "toy/a-v0", "--drop-episodes", "0", "-n", "--json", "--as", "toy/b-v0").out)
    assert (report["dry_run"], report["dropped_episodes"], report["new_dataset_id"]) == (True, [0], "toy/b-v0")
    assert listing(datasets_root) == before
    done = run("edit", "toy/a-v0", "--drop-episodes", "0", "--json", answer="y\n")
    assert json.loads(done.out)["episodes_after"] == 3
    assert "Are you sure" in done.err


def test_fields(run: Minari) -> None:
    zeros = np.zeros(2, np.int64)
    episode = EpisodeBuffer(
        observations={"cam": zeros, "x": zeros},
        actions=[0],
        rewards=[1.0],
        terminations=[True],
        truncations=[False],
        infos={"debug": zeros, "time": zeros},
    )
    minari.create_dataset_from_buffers(
        "toy/f-v0",
        [episode],
        observation_space=spaces.Dict(cam=spaces.Discrete(2), x=spaces.Discrete(2)),
        action_space=spaces.Discrete(2),
    )
    done = run(
        "edit",
        "toy/f-v0",
        "--drop-field",
        "observations/x",
        "--drop-field",
        "infos/debug",
        "--rename-field",
        "observations/cam=observations/camera",
        "--rename-field",
        "infos/time=infos/clock",
        "--yes",
    )
    assert done.lines[1:] == [
        "  Drops observations/x, infos/debug.",
        "  Renames observations/cam to observations/camera.",
        "  Renames infos/time to infos/clock.",
    ]
    (edited,) = minari.load_dataset("toy/f-v0")
    assert (list(edited.observations), list(edited.infos)) == (["camera"], ["clock"])


@pytest.mark.parametrize(
    ("options", "parts", "code"),
    [
        ([], ["Give at least one change"], 2),
        (["--set", "gain"], ["--set is 'gain', expected KEY=VALUE"], 2),
        (["--set", "=3"], ["expected KEY=VALUE"], 2),
        (["--set", "a=1", "--set", "a=2"], ["--set gives 'a' twice"], 2),
        (["--rename-field", "infos/a"], ["expected OLD=NEW"], 2),
        (["--set-episode", "0", "task"], ["--set-episode is 'task', expected KEY=VALUE"], 2),
        (["--set-episode", "x", "task=1"], ["--set-episode is 'x', expected numbers"], 2),
        (["--set-episode", "9", "task=1"], ["There is no episode 9 in toy/a-v0, expected a number from 0 to 3."], 1),
        *(
            (["--drop-episodes", text], [f"--drop-episodes is {text!r}, expected numbers"], 2)
            for text in ("", "a", "1,", "1 2", "-1", "1--2", "²", "9" * 30)
        ),
        (["--drop-episodes", "1, 3-2"], ["--drop-episodes is '1, 3-2', in which a range goes backwards", "2-3"], 2),
        (["--set", "author = Ada"], ["--set is 'author = Ada', expected KEY=VALUE without spaces"], 2),
        (["--set", "author=['Ada']"], ["--set gives 'author' the value", "is not valid JSON", "double quotes"], 2),
        (["--set-episode", "0", "goal=[x]"], ["--set-episode gives 'goal' the value '[x]', which is not"], 2),
        (["--set", "author=Ada", "--set", "author=B"], ["gives 'author' twice", "list such as 'author=["], 2),
        (["--keep", "return"], ["--keep is 'return', which is not a condition; put the whole condition in quotes"], 2),
        (["--keep", "retrun > 3"], ["No episode has 'retrun'", "'return'"], 1),
        (["--drop-field", "info/x"], ["toy/a-v0 has no field 'info/x', expected an info such as 'infos/success'."], 1),
        (["--drop-episodes", "3-999999999999999999"], ["There is no episode 4 in toy/a-v0"], 1),
        (["--drop-episodes", "0-3"], ["None of the 4 episodes"], 1),
        (["--drop-field", "infos/x"], ["No episode of toy/a-v0 has 'infos/x'"], 1),
        (["--remove", "decription"], ["has no key 'decription'"], 1),
        (["--set", "total_steps=1"], ["'total_steps' is protected"], 1),
        (["--set", "a=1", "--as", "b"], ["'b'"], 1),
    ],
)
def test_mistakes(
    run: Minari, dataset: Any, datasets_root: Path, options: list[str], parts: list[str], code: int
) -> None:
    before = listing(datasets_root)
    run("edit", "toy/a-v0", *options, "--yes").assert_refused(*parts, code=code)
    assert listing(datasets_root) == before


def test_unknown_dataset(run: Minari, dataset: Any) -> None:
    run("edit", "toy/b-v0", "--set", "a=1").assert_refused("There is no dataset toy/b-v0", "Did you mean 'toy/a-v0'")
