"""``minari record``."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]

#: A module beside the user: an environment that counts, and policies.
OWN_MODULE = '''
import random
import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counting(gym.Env):
    """Observes the seed and the time; its episodes last five steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(3)

    def __init__(self, fails_at=None, odd=False):
        self.fails_at, self.odd, self.total = fails_at, odd, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.time = seed, 0
        return self.observation(), {}

    def step(self, action):
        self.time += 1
        self.total += 1
        if self.total == self.fails_at:
            raise RuntimeError("the motor\\nbroke")
        info = {"time": self.time, "odd": object()} if self.odd else {"time": self.time}
        return self.observation(), float(action), self.time == 5, False, info

    def observation(self):
        return np.array([-1.0 if self.seed is None else self.seed, self.time], np.float64)


gym.register("Counting-v0", entry_point="own:Counting")


def two(observation):
    return 2


class Clock:
    """Acts by the time, and has to be given the environment."""

    def __init__(self, env):
        self.count = int(env.action_space.n)

    def __call__(self, observation):
        return int(observation[1]) % self.count


def drawing(observation):
    return (random.randrange(3) + np.random.randint(3)) % 3


def failing(observation):
    if observation[1] == 3:
        raise KeyError("lost")
    return 0


number = 3
'''


@pytest.fixture
def record(run: Minari, tmp_path: Path) -> Minari:
    """Run ``minari record`` in a directory that has the module ``own``; environment and id are given."""
    (tmp_path / "own.py").write_text(OWN_MODULE)

    def record_counting(*options: str, dataset_id: str = "own/a-v0", env_id: str = "own:Counting-v0") -> Any:
        return run("record", env_id, "--dataset-id", dataset_id, *options)

    return record_counting


def actions_of(dataset_id: str) -> list[list[int]]:
    return [episode.actions.tolist() for episode in minari.load_dataset(dataset_id)]


def seeds_of(dataset_id: str) -> list[int]:
    dataset = minari.load_dataset(dataset_id)
    return [metadata["seed"] for metadata in dataset.storage.get_episode_metadata(range(len(dataset)))]


class TestWhatIsRecorded:
    def test_ten_episodes_if_nothing_is_said(self, record: Minari, datasets_root: Path) -> None:
        done = record("--policy", "own:two")
        assert done.code == 0
        path = datasets_root / "own" / "a-v0"
        assert done.lines == [f"Dataset own/a-v0 recorded: 10 episodes, 50 steps, mean return 10, at {path}"]
        dataset = minari.load_dataset("own/a-v0")
        assert dataset.total_episodes == 10
        for episode in dataset:
            assert episode.observations[:, 1].tolist() == [0, 1, 2, 3, 4, 5]
            assert episode.rewards.tolist() == [2.0] * 5
            assert episode.terminations.tolist() == [False] * 4 + [True]
            assert episode.infos == {}
        assert dataset.env_spec is not None
        assert dataset.env_spec.id == "Counting-v0"

    def test_a_registered_environment(self, record: Minari) -> None:
        done = record("--episodes", "3", "--seed", "0", env_id="CartPole-v1")
        assert done.code == 0
        dataset = minari.load_dataset("own/a-v0")
        assert dataset.total_episodes == 3
        returns = [episode.rewards.sum() for episode in dataset]
        expected = f"3 episodes, {dataset.total_steps} steps, mean return {np.mean(returns):.6g}, at "
        assert expected in done.out

    def test_the_last_of_a_number_of_steps_is_truncated(self, record: Minari) -> None:
        assert "3 episodes, 13 steps" in record("--steps", "13").out
        dataset = minari.load_dataset("own/a-v0")
        assert [len(episode) for episode in dataset] == [5, 5, 3]
        assert [bool(episode.truncations[-1]) for episode in dataset] == [False, False, True]

    def test_steps_that_end_with_an_episode(self, record: Minari) -> None:
        record("--steps", "10")
        dataset = minari.load_dataset("own/a-v0")
        assert [len(episode) for episode in dataset] == [5, 5]
        assert not any(episode.truncations.any() for episode in dataset)

    def test_infos_and_arguments_of_the_environment(self, record: Minari) -> None:
        record("--episodes", "1", "--record-infos", "--env-kwargs", '{"fails_at": null}')
        dataset = minari.load_dataset("own/a-v0")
        assert dataset[0].infos["time"][1:].tolist() == [1, 2, 3, 4, 5]
        assert dataset.env_spec is not None
        assert dataset.env_spec.kwargs == {"fails_at": None}

    def test_metadata(self, record: Minari) -> None:
        options = {
            "--author": "Ada",
            "--author-email": "ada@example.org",
            "--algorithm-name": "dice",
            "--description": "Some *dice*.",
            "--code-permalink": "https://example.org/code",
            "--eval-env": "CartPole-v1",
        }
        words = [word for option in options.items() for word in option]
        done = record(*words, "--author", "Grace", "--episodes", "1")
        assert (done.code, done.err) == (0, "")
        metadata = minari.load_dataset("own/a-v0").storage.metadata
        assert metadata["author"] == {"Ada", "Grace"}
        assert metadata["author_email"] == {"ada@example.org"}
        assert metadata["algorithm_name"] == "dice"
        assert metadata["description"] == "Some *dice*."
        assert metadata["code_permalink"] == "https://example.org/code"
        assert json.loads(metadata["eval_env_spec"])["id"] == "CartPole-v1"

    def test_one_line_hints_at_metadata_that_are_missing(self, record: Minari) -> None:
        done = record("--episodes", "1", "--author", "Ada", "--policy", "own:two")
        (hint,) = done.complaints
        assert hint.startswith("Hint: the dataset has no author email, description, code permalink;")
        assert minari.load_dataset("own/a-v0").storage.metadata["algorithm_name"] == "own:two"

    def test_infos_that_cannot_be_stored_are_left_out(self, record: Minari) -> None:
        done = record("--episodes", "2", "--record-infos", "--env-kwargs", '{"odd": true}')
        assert done.code == 0
        assert done.complaints[0].startswith("Warning: The info 'odd' is left out: ")
        dataset = minari.load_dataset("own/a-v0")
        assert [list(episode.infos) for episode in dataset if "odd" in episode.infos] == []
        assert dataset[1].infos["time"][1:].tolist() == [1, 2, 3, 4, 5]


class TestPolicies:
    @pytest.mark.parametrize(
        ("policy", "actions"), [("own:two", [2] * 5), ("own:Clock", [0, 1, 2, 0, 1])], ids=["function", "class"]
    )
    def test_a_policy_of_the_user(self, record: Minari, policy: str, actions: list[int]) -> None:
        assert record("--episodes", "2", "--policy", policy).code == 0
        assert actions_of("own/a-v0") == [actions, actions]

    @pytest.mark.parametrize(
        ("policy", "complaint"),
        [
            ("rondom", "give 'random' or 'package.module:callable'"),
            ("own:", "give 'random' or"),
            ("own:missing", "AttributeError"),
            ("missing_module:policy", "No module named 'missing_module'"),
            ("own:number", "expected something that can be called"),
        ],
    )
    def test_an_unknown_one_is_refused(self, record: Minari, policy: str, complaint: str) -> None:
        done = record("--policy", policy)
        assert (done.code, done.out) == (2, "")
        (line,) = done.complaints
        assert complaint in line
        assert minari.list_local_datasets() == {}


class TestSeeds:
    @pytest.mark.parametrize("policy", ["random", "own:drawing"])
    def test_the_same_seed_records_the_same(self, record: Minari, policy: str) -> None:
        for name, seed in (("a", 7), ("b", 7), ("c", 8)):
            options = ["--policy", policy, "--episodes", "4", "--seed", str(seed)]
            assert record(*options, dataset_id=f"own/{name}-v0").code == 0
        assert actions_of("own/a-v0") == actions_of("own/b-v0")
        assert actions_of("own/a-v0") != actions_of("own/c-v0")
        assert seeds_of("own/a-v0") == [7, 8, 9, 10]
        assert [episode.observations[0, 0] for episode in minari.load_dataset("own/a-v0")] == [7, 8, 9, 10]

    def test_without_one_seeds_differ_and_are_kept(self, record: Minari) -> None:
        record("--episodes", "2")
        observed = [episode.observations[0, 0] for episode in minari.load_dataset("own/a-v0")]
        assert observed == seeds_of("own/a-v0")
        assert observed[0] != observed[1]


def test_warnings_of_the_environment_are_lines(record: Minari) -> None:
    done = record("--episodes", "1", "--record-infos", env_id="CartPole-v0")
    assert done.code == 0
    assert all(line.startswith(("Warning: ", "Hint: ")) for line in done.complaints)
    assert "out of date" in done.complaints[0]


class TestAppend:
    def test_episodes_are_added_with_the_seeds_that_follow(self, record: Minari, datasets_root: Path) -> None:
        record("--episodes", "2", "--seed", "7", "--author", "Ada")
        done = record("--episodes", "3", "--seed", "7", "--append")
        assert (done.code, done.err) == (0, "")
        path = datasets_root / "own" / "a-v0"
        assert re.fullmatch(rf"Dataset own/a-v0 extended: 3 episodes, 15 steps, mean return .+, at {path}\n", done.out)
        assert seeds_of("own/a-v0") == [7, 8, 9, 10, 11]
        actions = actions_of("own/a-v0")
        assert actions[2:4] != actions[:2]
        assert minari.load_dataset("own/a-v0").storage.metadata["author"] == {"Ada"}

    @pytest.mark.parametrize(
        ("options", "env_id", "part"),
        [
            ([], "CartPole-v1", "was recorded in Counting-v0, not in CartPole-v1"),
            (["--env-kwargs", '{"odd": true}'], "own:Counting-v0", "with other arguments"),
            (["--author", "Ada"], "own:Counting-v0", "leave out --author"),
            (["--dataset-id", "own/b-v0"], "own:Counting-v0", "leave out --append"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, record: Minari, options: list[str], env_id: str, part: str) -> None:
        record("--episodes", "2")
        done = record("--append", *options, env_id=env_id)
        assert done.code in (1, 2)
        (complaint,) = done.complaints
        assert part in complaint
        assert minari.load_dataset("own/a-v0").total_episodes == 2

    def test_a_dataset_of_other_spaces_is_refused(self, record: Minari, make_dataset: MakeDataset) -> None:
        make_dataset("own/a-v0")
        done = record("--append")
        assert done.code == 1
        (complaint,) = done.complaints
        assert "observation_space" in complaint


@pytest.mark.parametrize(
    ("options", "part", "code"),
    [
        (["--episodes", "1", "--steps", "1"], "Both --episodes and --steps are given", 2),
        (["--dataset-id", "own/b"], "has no version", 1),
        (["--dataset-id", "../b-v0"], "Malformed", 1),
        (["--dataset-id", "own/taken-v0"], "already exists", 1),
        (["--env-kwargs", "{"], "--env-kwargs is '{', which is not valid JSON", 2),
        (["--env-kwargs", "[1]"], "expected a JSON object", 2),
        (["--env-kwargs", '{"unheard": 1}'], "cannot be made: TypeError", 1),
        (["--eval-env", "Nothing-v0"], "No environment is registered as 'Nothing-v0'", 1),
    ],
)
def test_refused_before_the_first_step(
    record: Minari, make_dataset: MakeDataset, options: list[str], part: str, code: int
) -> None:
    make_dataset("own/taken-v0")
    # The policy fails if it is ever asked.
    done = record("--policy", "own:failing", *options)
    assert (done.code, done.out) == (code, "")
    (complaint,) = done.complaints
    assert complaint.startswith("Error: ")
    assert part in complaint
    assert list(minari.list_local_datasets()) == ["own/taken-v0"]


def test_a_package_that_registers_its_environments_is_imported(record: Minari, tmp_path: Path) -> None:
    """As MiniGrid does: whoever types the id of an environment means the package that it comes from."""
    (tmp_path / "miniworld.py").write_text(OWN_MODULE.replace("Counting-v0", "MiniWorld-Toy-v0"))
    done = record("--episodes", "1", dataset_id="world/toy-v0", env_id="MiniWorld-Toy-v0")
    assert done.code == 0
    assert minari.load_dataset("world/toy-v0").env_spec.id == "MiniWorld-Toy-v0"


@pytest.mark.parametrize("env_id", ["Nothing-v0", "missing_module:Nothing-v0", ""])
def test_an_unknown_environment(record: Minari, env_id: str) -> None:
    done = record(env_id=env_id)
    assert (done.code, done.out) == (1, "")
    (complaint,) = done.complaints
    assert complaint.startswith(f"Error: The environment {env_id!r} cannot be made: ")


class TestFailures:
    """Episodes recorded before a failure are kept, and the command that continues is shown."""

    def test_of_the_environment(self, record: Minari) -> None:
        done = record("--env-kwargs", '{"fails_at": 13}', "--policy", "own:two", "--seed", "3", "--author", "Ada")
        assert done.code == 1
        assert "Dataset own/a-v0 recorded: 3 episodes, 12 steps, mean return 8," in done.out
        complaint = "Error: The environment or the policy failed with RuntimeError: the motor broke"
        assert re.fullmatch(rf"{complaint} \(.*own\.py, line \d+, in step\)", done.complaints[-1])
        dataset = minari.load_dataset("own/a-v0")
        assert [len(episode) for episode in dataset] == [5, 5, 2]
        assert [bool(episode.truncations[-1]) for episode in dataset] == [False, False, True]
        ended = done.complaints[-2]
        assert "3 episodes are kept, the last of them truncated" in ended
        assert shlex.split(ended.partition("To continue: ")[2]) == [
            *("minari", "record", "own:Counting-v0", "--dataset-id", "own/a-v0", "--episodes", "8"),
            *("--policy", "own:two", "--seed", "3", "--env-kwargs", '{"fails_at": 13}', "--append"),
        ]

    def test_of_the_policy(self, record: Minari) -> None:
        done = record("--policy", "own:failing", "--steps", "100")
        assert done.code == 1
        assert "KeyError: 'lost'" in done.complaints[-1]
        assert "--steps 97" in done.complaints[-2]
        assert [len(episode) for episode in minari.load_dataset("own/a-v0")] == [3]

    def test_before_the_first_step(self, record: Minari) -> None:
        done = record("--env-kwargs", '{"fails_at": 1}', "--author", "Ada Lovelace")
        assert (done.code, done.out) == (1, "")
        assert "nothing was recorded" in done.complaints[-2]
        assert done.complaints[-2].endswith("--author 'Ada Lovelace'")
        assert minari.list_local_datasets() == {}
