"""``minari record``."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import minari
from cli.conftest import Minari, Run


@pytest.fixture
def record(run: Minari, own_module: Path) -> Minari:
    """Run ``minari record`` in a directory that has the module ``own``; environment and id are given."""

    def record_counting(*options: str, dataset_id: str = "own/a-v0", env_id: str = "own:Counting-v0") -> Run:
        return run("record", env_id, "--dataset-id", dataset_id, *options)

    return record_counting


def actions_of(dataset_id: str) -> list[list[int]]:
    return [episode.actions.tolist() for episode in minari.load_dataset(dataset_id)]


def seeds_of(dataset_id: str) -> list[int]:
    dataset = minari.load_dataset(dataset_id)
    return [metadata.get("seed") for metadata in dataset.storage.get_episode_metadata(range(len(dataset)))]


def test_records_ten_episodes_by_default(record: Minari, datasets_root: Path) -> None:
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


def test_records_a_registered_environment(record: Minari) -> None:
    done = record("--episodes", "3", "--seed", "0", env_id="CartPole-v1")
    assert done.code == 0
    dataset = minari.load_dataset("own/a-v0")
    assert dataset.total_episodes == 3
    returns = [episode.rewards.sum() for episode in dataset]
    expected = f"3 episodes, {dataset.total_steps} steps, mean return {np.mean(returns):.6g}, at "
    assert expected in done.out


@pytest.mark.parametrize(("steps", "lengths"), [(13, [5, 5, 3]), (10, [5, 5])])
def test_last_of_a_number_of_steps_is_truncated_within_an_episode(
    record: Minari, steps: int, lengths: list[int]
) -> None:
    assert f"{len(lengths)} episodes, {steps} steps" in record("--steps", str(steps)).out
    dataset = minari.load_dataset("own/a-v0")
    assert [len(episode) for episode in dataset] == lengths
    assert [bool(episode.truncations[-1]) for episode in dataset] == [length < 5 for length in lengths]


def test_records_infos_and_arguments_of_the_environment(record: Minari) -> None:
    record("--episodes", "1", "--record-infos", "--env-kwargs", '{"fails_at": null}')
    dataset = minari.load_dataset("own/a-v0")
    assert dataset[0].infos["time"][1:].tolist() == [1, 2, 3, 4, 5]
    assert dataset.env_spec is not None
    assert dataset.env_spec.kwargs == {"fails_at": None}


def test_records_metadata(record: Minari) -> None:
    options = {
        "--author": "Ada", "--author-email": "ada@example.org", "--algorithm-name": "dice",
        "--description": "Some *dice*.", "--code-permalink": "https://example.org/code", "--eval-env": "CartPole-v1",
    }  # fmt: skip
    words = [word for option in options.items() for word in option]
    done = record(*words, "--author", "Grace", "--episodes", "1")
    assert (done.code, done.err) == (0, "")
    metadata = minari.load_dataset("own/a-v0").storage.metadata
    assert metadata["author"] == {"Ada", "Grace"}
    assert metadata["author_email"] == {"ada@example.org"}
    for name in ("algorithm_name", "description", "code_permalink"):
        assert metadata[name] == options[f"--{name.replace('_', '-')}"]
    assert json.loads(metadata["eval_env_spec"])["id"] == "CartPole-v1"


def test_one_line_hints_at_metadata_that_are_missing(record: Minari) -> None:
    done = record("--episodes", "1", "--author", "Ada", "--policy", "own:two")
    (hint,) = done.complaints
    assert hint.startswith("Hint: the dataset has no author email, description, code permalink;")
    assert minari.load_dataset("own/a-v0").storage.metadata["algorithm_name"] == "own:two"


def test_infos_that_cannot_be_stored_are_left_out(record: Minari) -> None:
    done = record("--episodes", "2", "--record-infos", "--env-kwargs", '{"odd": true}')
    assert done.code == 0
    assert done.complaints[0].startswith("Warning: The info 'odd' is left out: ")
    dataset = minari.load_dataset("own/a-v0")
    assert [list(episode.infos) for episode in dataset if "odd" in episode.infos] == []
    assert dataset[1].infos["time"][1:].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("policy", "actions"), [("own:two", [2] * 5), ("own:Clock", [0, 1, 2, 0, 1])], ids=["function", "class"]
)
def test_policy_of_the_user(record: Minari, policy: str, actions: list[int]) -> None:
    assert record("--episodes", "2", "--policy", policy).code == 0
    assert actions_of("own/a-v0") == [actions, actions]


@pytest.mark.parametrize("policy", ["random", "own:drawing"])
def test_the_same_seed_records_the_same(record: Minari, policy: str) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        options = ["--policy", policy, "--episodes", "4", "--seed", str(seed)]
        assert record(*options, dataset_id=f"own/{name}-v0").code == 0
    assert actions_of("own/a-v0") == actions_of("own/b-v0")
    assert actions_of("own/a-v0") != actions_of("own/c-v0")
    assert seeds_of("own/a-v0") == [7, 8, 9, 10]
    assert [episode.observations[0, 0] for episode in minari.load_dataset("own/a-v0")] == [7, 8, 9, 10]


def test_seeds_differ_and_are_kept_without_one(record: Minari) -> None:
    record("--episodes", "2")
    observed = [episode.observations[0, 0] for episode in minari.load_dataset("own/a-v0")]
    assert observed == seeds_of("own/a-v0")
    assert observed[0] != observed[1]


def test_warnings_of_the_environment_are_lines(record: Minari) -> None:
    done = record("--episodes", "1", "--record-infos", env_id="CartPole-v0")
    assert done.code == 0
    assert all(line.startswith(("Warning: ", "Hint: ")) for line in done.complaints)
    assert "out of date" in done.complaints[0]


def test_append_goes_on_with_the_seeds_that_follow(record: Minari, datasets_root: Path) -> None:
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
def test_append_refuses_what_does_not_fit(record: Minari, options: list[str], env_id: str, part: str) -> None:
    record("--episodes", "2")
    done = record("--append", *options, env_id=env_id)
    done.assert_refused(part, code=2 if "--author" in options else 1)
    assert minari.load_dataset("own/a-v0").total_episodes == 2


@pytest.mark.parametrize("vectorization", [[], ["--vectorization", "async"]])
def test_many_environments_at_once(record: Minari, vectorization: list[str], datasets_root: Path) -> None:
    options = ["--num-envs", "3", *vectorization, "--seed", "7"]
    done = record("--episodes", "7", "--policy", "own:Alternating", *options)
    path = datasets_root / "own" / "a-v0"
    assert done.lines == [f"Dataset own/a-v0 recorded: 7 episodes, 35 steps, mean return 4.28571, at {path}"]
    dataset = minari.load_dataset("own/a-v0")
    assert [(int(episode.actions[0]), len(episode)) for episode in dataset] == [(number % 3, 5) for number in range(7)]
    metadata = [*dataset.storage.get_episode_metadata(range(7))]
    assert [one.get("seed") for one in metadata] == [7, 8, 9, None, None, None, None]
    assert [int(one["env_index"]) for one in metadata] == [0, 1, 2, 0, 1, 2, 0]
    assert dataset.env_spec is not None
    assert dataset.env_spec.id == "Counting-v0"
    assert "num_envs" not in dataset.env_spec.kwargs
    assert "extended: 3 episodes, 6 steps" in record("--steps", "5", "--append", "--policy", "own:two", *options).out
    assert seeds_of("own/a-v0")[-3:] == [14, 15, 16]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--num-envs", "2", "--pettingzoo", "own:two"], "Both --num-envs and --pettingzoo"),
        (["--vectorization", "sync"], "without --num-envs"),
    ],
)
def test_options_of_many_environments_that_do_not_fit(record: Minari, options: list[str], part: str) -> None:
    record(*options).assert_refused(part, code=2)


def test_failure_among_many_environments_keeps_all_of_them(record: Minari) -> None:
    done = record("--episodes", "9", "--num-envs", "2", "--env-kwargs", '{"fails_at": 8}', "--policy", "own:two")
    assert done.code == 1
    assert "4 episodes are kept, the last of them truncated. To continue: minari record" in done.err
    assert "--num-envs 2" in done.err
    assert [len(episode) for episode in minari.load_dataset("own/a-v0")] == [5, 5, 2, 2]


def test_a_package_that_registers_its_environments_is_imported(record: Minari, tmp_path: Path) -> None:
    """As MiniGrid does: whoever types the id of an environment means the package that it comes from."""
    text = (tmp_path / "own.py").read_text()
    (tmp_path / "miniworld.py").write_text(text.replace("Counting-v0", "MiniWorld-Toy-v0"))
    done = record("--episodes", "1", dataset_id="world/toy-v0", env_id="MiniWorld-Toy-v0")
    assert done.code == 0
    assert minari.load_dataset("world/toy-v0").env_spec.id == "MiniWorld-Toy-v0"


# Episodes recorded before a failure are kept, and the command that continues is shown


def test_failure_of_the_environment(record: Minari) -> None:
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


def test_failure_of_the_policy(record: Minari) -> None:
    done = record("--policy", "own:failing", "--steps", "100")
    assert done.code == 1
    assert "KeyError: 'lost'" in done.complaints[-1]
    assert "--steps 97" in done.complaints[-2]
    assert [len(episode) for episode in minari.load_dataset("own/a-v0")] == [3]


def test_failure_before_the_first_step(record: Minari) -> None:
    done = record("--env-kwargs", '{"fails_at": 1}', "--author", "Ada Lovelace")
    assert (done.code, done.out) == (1, "")
    assert "nothing was recorded" in done.complaints[-2]
    assert done.complaints[-2].endswith("--author 'Ada Lovelace'")
    assert minari.list_local_datasets() == {}


@pytest.mark.parametrize(
    ("name", "function", "error"),
    [
        ("broken", "broken", "AttributeError: 'numpy.ndarray' object has no attribute 'missing'"),
        ("Late", "give_up", "RuntimeError: out of ideas"),
    ],
)
def test_failure_of_a_policy_names_its_file_and_line(
    record: Minari, tmp_path: Path, name: str, function: str, error: str
) -> None:
    lines = (tmp_path / "own.py").read_text().splitlines()
    start = lines.index(next(line for line in lines if f"def {function}(" in line))
    done = record("--policy", f"own:{name}", "--episodes", "2")
    assert done.code == 1
    place = f"({tmp_path / 'own.py'}, line {start + 2}, in {function})"
    assert done.complaints[-1].endswith(f"failed with {error} {place}")


def test_policy_that_cannot_be_loaded_names_its_line(record: Minari, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import json\njson.loads('{')\n")
    record("--policy", "bad:any").assert_refused(f"({tmp_path / 'bad.py'}, line 2, in <module>)", code=2)


def test_one_episode_is_counted_in_the_singular(record: Minari) -> None:
    assert "recorded: 1 episode, " in record("--episodes", "1").out
