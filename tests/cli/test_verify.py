"""``minari verify``: one line per episode that diverges, a summary, and the exit status."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

import minari
from cli.conftest import Minari


@pytest.fixture
def recorded(run: Minari, own_module: Path) -> str:
    """The id of a dataset of four episodes of the environment in the module ``own``."""
    arguments = ("--dataset-id", "own/counting-v0", "--episodes", "4", "--seed", "7", "--policy", "own:Clock")
    assert run("record", "own:Counting-v0", *arguments).code == 0
    return "own/counting-v0"


def test_exact(run: Minari, recorded: str) -> None:
    run("verify", recorded).assert_done("own/counting-v0: exact in 4 of 4 episodes")
    report = minari.load_dataset(recorded).storage.metadata["verification"]
    assert report["counts"] == {"exact": 4}
    shown = run("show", recorded)
    assert shown.rows["Verified"][0].startswith(f"exact in 4 of 4 episodes on {report['date']} (gymnasium ")
    assert json.loads(run("show", recorded, "--json").out)["verification"] == report


def test_selection_and_processes(run: Minari, recorded: str) -> None:
    run("verify", recorded, "--episodes", "3,0-1", "--processes", "2", "--no-report").assert_done(
        "own/counting-v0: exact in 3 of 3 episodes"
    )
    run("verify", recorded, "--sample", "2", "--seed", "1", "--no-report").assert_done(
        "own/counting-v0: exact in 2 of 2 episodes"
    )
    assert "verification" not in minari.load_dataset(recorded).storage.metadata


def test_divergence(run: Minari) -> None:
    assert run("record", "CartPole-v1", "--dataset-id", "toy/a-v0", "--episodes", "3", "--seed", "1").code == 0
    changed = run("verify", "toy/a-v0", "--env-kwargs", '{"sutton_barto_reward": true}')
    assert (changed.code, changed.err) == (1, "")
    assert changed.lines == [
        *(f"episode {number} diverged at step 0 in rewards: recorded 1, replayed 0, off by 1" for number in range(3)),
        "toy/a-v0: diverged in 3 of 3 episodes",
    ]
    report = json.loads(run("verify", "toy/a-v0", "--env-kwargs", '{"sutton_barto_reward": true}', "--json").out)
    assert report["ok"] is False
    assert report["counts"]["diverged"] == 3
    assert report["episodes"][0]["divergence"] == {
        "step": 0, "leaf": "rewards", "index": [], "recorded": 1.0, "replayed": 0.0, "difference": 1.0,
    }  # fmt: skip


def test_other_versions_are_named(run: Minari, recorded: str) -> None:
    storage = minari.load_dataset(recorded).storage
    storage.update_metadata({"recorded_with": {**storage.metadata["recorded_with"], "gymnasium": "0.29.1"}})
    done = run("verify", recorded)
    assert done.lines[0].startswith("Recorded with gymnasium 0.29.1 (now ")


def test_episodes_without_seeds_are_counted(run: Minari, make_dataset: object) -> None:
    make_dataset("toy/a-v0")  # type: ignore[operator]
    done = run("verify", "toy/a-v0", "--env", "CartPole-v1")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "2 episodes not reproducible: no seed is recorded",
        "toy/a-v0: not reproducible in 2 of 2 episodes",
    ]


def test_games(run: Minari, tmp_path: Path) -> None:
    pytest.importorskip("pettingzoo")
    (tmp_path / "games.py").write_text(Path(__file__).with_name("own_games.py").read_text(encoding="utf-8"))
    for function in ("together", "in_turns"):
        dataset_id = f"games/{function.replace('_', '-')}-v0"
        arguments = ("--pettingzoo", f"games:{function}", "--dataset-id", dataset_id, "--episodes", "2", "--seed", "1")
        assert run("record", "counting", *arguments).code == 0
        run("verify", dataset_id, "--env", f"games:{function}").assert_done(f"{dataset_id}: exact in 2 of 2 episodes")
        shorter = run("verify", dataset_id, "--env", f"games:{function}", "--env-kwargs", '{"length": 4}')
        assert shorter.code == 1
        assert "diverged" in shorter.lines[0]
        run("verify", dataset_id).assert_refused("has no env_spec")


@pytest.mark.parametrize(
    ("arguments", "parts", "code"),
    [
        (["toy/none-v0"], ["There is no dataset toy/none-v0"], 1),
        (["own/counting-v0", "--episodes", "1-"], ["--episodes is '1-', expected numbers of episodes and ranges"], 2),
        (["own/counting-v0", "--episodes", "5-3"], ["--episodes is '5-3'"], 2),
        (["own/counting-v0", "--episodes", "0-99999999999"], ["There is no episode "], 1),
        (["own/counting-v0", "--episodes", "4"], ["There is no episode 4"], 1),
        (["own/counting-v0", "--env-kwargs", "[1]"], ["--env-kwargs is '[1]', expected a JSON object"], 2),
        (["own/counting-v0", "--env", "own:number"], ["own:number is 3, expected a function"], 1),
        (["own/counting-v0", "--env", "nowhere:make"], ["No module named 'nowhere'"], 1),
        (["own/counting-v0", "--env", "Pendulum-v1"], ["takes other actions"], 1),
        (["own/counting-v0", "--env-kwargs", '{"fails_at": 3}', "--env", "own:two"], ["TypeError"], 1),
    ],
)
def test_errors(run: Minari, recorded: str, arguments: list[str], parts: list[str], code: int) -> None:
    run("verify", *arguments).assert_refused(*parts, code=code)


def test_environment_that_fails_is_a_divergence(run: Minari, recorded: str) -> None:
    failed = run("verify", recorded, "--env-kwargs", '{"fails_at": 3}', "--episodes", "1")
    assert failed.code == 1
    assert failed.lines[0].startswith("episode 1 diverged at step 2 in steps: recorded a step, replayed RuntimeError:")


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal there")
def test_ctrl_c_ends_all_processes(run: Minari, recorded: str, start: object, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, time\nfrom pathlib import Path\nfrom own import Counting\n"
        "class Slow(Counting):\n"
        "    def step(self, action):\n"
        "        Path(f'pid-{os.getpid()}').touch()\n"
        "        time.sleep(300)\n"
    )
    process = start("verify", recorded, "--env", "slow:Slow", "--processes", "2")  # type: ignore[operator]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("pid-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "Interrupted."
    for file in tmp_path.glob("pid-*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name.removeprefix("pid-")), 0)
