"""The environment of a dataset: recovered and described, with what it asks for, or the reason why not."""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

import minari
from minari import MinariDataset
from minari._model.env_spec import make_environment, parse_env_spec
from minari.errors import EnvironmentModuleError, EnvironmentSpecError
from minari.utils import get_dataset_spec_dict, get_env_spec_dict
from support.scripted import collected


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


@pytest.fixture
def cartpole() -> MinariDataset:
    collector = collected(gym.make("CartPole-v1", max_episode_steps=8), reset={"seed": 2})
    dataset: MinariDataset = collector.create_dataset("test/cartpole-v0", requirements=["numpy>=1", "gymnasium"])
    return dataset


def with_spec(dataset: MinariDataset, env_spec: str | dict[str, Any]) -> MinariDataset:
    """The dataset, loaded again, with changes of its spec or another text in its place."""
    raw = dataset.storage.read_raw_metadata(dataset.storage.data_path)
    text = env_spec if isinstance(env_spec, str) else json.dumps(json.loads(raw["env_spec"]) | env_spec)
    changed = raw | {"env_spec": text, "eval_env_spec": raw["env_spec"]}
    (dataset.storage.data_path / "metadata.json").write_text(json.dumps(changed))
    return minari.load_dataset(dataset.id)


def test_the_environment_is_recovered(cartpole: MinariDataset, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every requirement is met
        env = cartpole.recover_environment(render_mode="rgb_array", max_episode_steps=3)
    assert (env.render_mode, env.spec.max_episode_steps, env.spec.id) == ("rgb_array", 3, "CartPole-v1")
    assert cartpole.recover_environment().spec.max_episode_steps == 8
    assert cartpole.eval_env_spec is None
    with caplog.at_level(logging.INFO, "minari"):
        assert cartpole.recover_environment(eval_env=True).spec.max_episode_steps == 8
    assert "names no environment for evaluation" in caplog.text


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        ("no-such-package>=3", 'no-such-package is not installed; run pip install "no-such-package>=3"'),
        ("numpy>=999", r'numpy has version .*; run pip install "numpy>=999"'),
        ("???", r"Ignoring malformed requirement '\?\?\?'"),
    ],
)
def test_requirements_that_are_not_met_are_told(cartpole: MinariDataset, requirement: str, text: str) -> None:
    cartpole.storage.update_metadata({"requirements": ["numpy", requirement]})
    with pytest.warns(UserWarning, match=text) as caught:
        cartpole.recover_environment()
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("entry_point", ["no_such_module.deep:Env", "gymnasium.no_such_module:Env"])
def test_a_missing_module_is_a_missing_module(cartpole: MinariDataset, entry_point: str) -> None:
    """For programs that catch what Python itself raises."""
    missing = "gymnasium.no_such_module" if entry_point.startswith("gymnasium") else "no_such_module"
    dataset = with_spec(cartpole, {"id": "Gone-v0", "entry_point": entry_point, "new_key": 1})
    assert (len(dataset[0]), dataset.env_spec.id) == (8, "Gone-v0")
    gone = dataset.storage.metadata["env_spec"]
    for call in (dataset.recover_environment, lambda: make_environment(parse_env_spec(gone))):
        with pytest.raises(ModuleNotFoundError, match=rf"Gone-v0.*No module named '{missing}'") as caught:
            call()
        assert isinstance(caught.value, EnvironmentModuleError)
        assert isinstance(caught.value, EnvironmentSpecError)
        assert isinstance(caught.value, ValueError)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.name) == (str(caught.value), caught.value.name) == (str(again), missing)
    dataset.recover_environment(eval_env=True).close()
    policy = {"eval_env": EnvSpec("Gone-v0", entry_point), "expert_policy": lambda _: 0}
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{missing}'"):
        collected(gym.make("CartPole-v1")).create_dataset("test/other-v0", **policy)


def test_a_damaged_spec_is_no_damage_to_the_data(cartpole: MinariDataset) -> None:
    dataset = with_spec(cartpole, "{")
    assert len(dataset[0]) == 8
    with pytest.raises(EnvironmentSpecError, match="not valid JSON"):
        _ = dataset.env_spec


def test_a_dataset_without_an_environment_may_have_one_for_evaluation() -> None:
    dataset = collected().create_dataset("test/other-v0", eval_env="CartPole-v1")
    assert dataset.recover_environment(eval_env=True).spec.id == dataset.eval_env_spec.id == "CartPole-v1"


# Descriptions


ENV_KEYS = [
    *("ID", "Observation Space", "Action Space", "entry_point", "max_episode_steps", "reward_threshold"),
    *(
        "nondeterministic",
        "order_enforce",
        "disable_env_checker",
        "kwargs",
        "additional_wrappers",
        "vector_entry_point",
    ),
]


def test_an_environment_is_described() -> None:
    env = gym.wrappers.ClipAction(gym.make("Pendulum-v1", g=9.8))
    assert env.spec is not None
    description = get_env_spec_dict(env.spec)
    assert list(description) == ENV_KEYS
    assert (
        description.items()
        >= {
            "ID": "Pendulum-v1",
            "Observation Space": "`Box([-1. -1. -8.], [1. 1. 8.], (3,), float32)`",
            "max_episode_steps": "200",
            "reward_threshold": "None",
            "nondeterministic": "`False`",
            "kwargs": "`{'g': 9.8}`",
        }.items()
    )
    assert "ClipAction" in description["additional_wrappers"]
    # One that is not installed has no spaces.
    description = get_env_spec_dict(EnvSpec("Nothing-v0", entry_point="missing_module:Nothing"))
    assert list(description) == [key for key in ENV_KEYS if "Space" not in key]
    assert description["entry_point"] == "`missing_module:Nothing`"


CHOICE = '{"type": "Discrete", "dtype": "int64", "start": 0, "n": 2}'


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"author": {"b", "a"}}, {"Author": "a, b"}),
        ({"author": ["b", "a"]}, {"Author": "a, b"}),
        ({"author": "a"}, {"Author": "a"}),
        ({"author": None, "author_email": []}, {"Author": "Not provided", "Email": "Not provided"}),
        ({"algorithm_name": None}, {"Algorithm": "Not provided"}),
        ({"code_permalink": "https://x.org"}, {"Code Permalink": "[https://x.org](https://x.org)"}),
        ({"minari_version": "~=0.4"}, {"Minari Version": "`~=0.4` (supported)"}),
        ({"minari_version": "9.0"}, {"Minari Version": "`9.0` (not supported)"}),
        ({"action_space": gym.spaces.Discrete(2)}, {"Dataset Action Space": "`Discrete(2)`"}),
        ({"action_space": CHOICE}, {"Dataset Action Space": "`Discrete(2)`"}),
        ({"dataset_id": "x/a-v1"}, {"Download": "`minari download x/a-v1`"}),
    ],
)
def test_a_dataset_is_described(metadata: dict[str, object], expected: dict[str, str]) -> None:
    description = get_dataset_spec_dict({"total_steps": 9, "total_episodes": 2, **metadata})
    assert list(description.items())[:2] == [("Total Steps", "9"), ("Total Episodes", "2")]
    assert description.items() >= expected.items()


def test_a_dataset_of_the_catalog_is_described(copy_fixture: Callable[[str, str], Path]) -> None:
    copy_fixture("0.5.4", "cartpole/random-v0")
    metadata = minari.load_dataset("cartpole/random-v0").storage.metadata
    assert get_dataset_spec_dict(metadata) == get_dataset_spec_dict(minari.list_local_datasets()["cartpole/random-v0"])
    assert list(get_dataset_spec_dict(metadata).items())[4:] == [
        ("Algorithm", "random"),
        ("Author", "Fixture Author"),
        ("Email", "fixture@example.org"),
        ("Code Permalink", "[https://example.org/gen](https://example.org/gen)"),
        ("Minari Version", "`0.5.4` (supported)"),
        ("Download", "`minari download cartpole/random-v0`"),
    ]
