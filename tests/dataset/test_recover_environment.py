"""The environment of a dataset: recovered, with what it asks for, or the reason why not."""

from __future__ import annotations

import json
import logging
import pickle
import warnings

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

import minari
from minari import DataCollector, MinariDataset
from minari._model.env_spec import make_environment, parse_env_spec
from minari.errors import EnvironmentModuleError, EnvironmentSpecError
from support.scripted import ScriptedEnv, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


@pytest.fixture
def cartpole() -> MinariDataset:
    collector = DataCollector(gym.make("CartPole-v1", max_episode_steps=8))
    play(collector, seed=2)
    return collector.create_dataset("test/cartpole-v0", requirements=["numpy>=1", "gymnasium"])


def test_recovering_the_environment(cartpole: MinariDataset, caplog: pytest.LogCaptureFixture) -> None:
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
def test_requirements_that_are_not_met(cartpole: MinariDataset, requirement: str, text: str) -> None:
    cartpole.storage.update_metadata({"requirements": ["numpy", requirement]})
    with pytest.warns(UserWarning, match=text) as caught:
        cartpole.recover_environment()
    assert [warning.filename for warning in caught] == [__file__]


def test_an_environment_that_cannot_be_made_is_named(cartpole: MinariDataset) -> None:
    raw = cartpole.storage.read_raw_metadata(cartpole.storage.data_path)
    spec = json.loads(raw["env_spec"]) | {"id": "Gone-v0", "entry_point": "no_such_module:Env", "new_key": 1}
    (cartpole.storage.data_path / "metadata.json").write_text(json.dumps(raw | {"env_spec": json.dumps(spec)}))
    dataset = minari.load_dataset("test/cartpole-v0")
    assert len(dataset[0]) == 8
    assert dataset.env_spec.id == "Gone-v0"
    with pytest.raises(EnvironmentSpecError, match=r"Gone-v0.*No module named 'no_such_module'") as caught:
        dataset.recover_environment()
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("entry_point", ["no_such_module.deep:Env", "gymnasium.no_such_module:Env"])
def test_a_missing_module_is_a_missing_module(cartpole: MinariDataset, entry_point: str) -> None:
    """For programs that catch what Python itself raises."""
    missing = "gymnasium.no_such_module" if entry_point.startswith("gymnasium") else "no_such_module"
    raw = cartpole.storage.read_raw_metadata(cartpole.storage.data_path)
    gone = json.dumps(json.loads(raw["env_spec"]) | {"id": "Gone-v0", "entry_point": entry_point})
    changed = raw | {"env_spec": gone, "eval_env_spec": raw["env_spec"]}
    (cartpole.storage.data_path / "metadata.json").write_text(json.dumps(changed))
    dataset = minari.load_dataset("test/cartpole-v0")
    for call in (dataset.recover_environment, lambda: make_environment(parse_env_spec(gone))):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{missing}'") as caught:
            call()
        assert isinstance(caught.value, EnvironmentModuleError)
        assert isinstance(caught.value, ValueError)
        assert caught.value.name == missing
        again = pickle.loads(pickle.dumps(caught.value))
        assert (str(again), again.name) == (str(caught.value), missing)
    dataset.recover_environment(eval_env=True).close()


def test_an_environment_of_a_missing_module_for_evaluation(cartpole: MinariDataset) -> None:
    collector = DataCollector(gym.make("CartPole-v1", max_episode_steps=8))
    play(collector, seed=2)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module'"):
        collector.create_dataset(
            "test/other-v0", eval_env=EnvSpec("Gone-v0", "no_such_module:Env"), expert_policy=lambda _: 0
        )


def test_a_damaged_spec_is_no_damage_to_the_data(cartpole: MinariDataset) -> None:
    raw = cartpole.storage.read_raw_metadata(cartpole.storage.data_path)
    (cartpole.storage.data_path / "metadata.json").write_text(json.dumps(raw | {"env_spec": "{"}))
    dataset = minari.load_dataset("test/cartpole-v0")
    assert len(dataset[0]) == 8
    with pytest.raises(EnvironmentSpecError, match="not valid JSON"):
        _ = dataset.env_spec


def test_a_dataset_without_an_environment() -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector)
    dataset = collector.create_dataset("test/none-v0")
    assert dataset.env_spec is None
    with pytest.raises(EnvironmentSpecError, match="test/none-v0 cannot be recovered"):
        dataset.recover_environment()


def test_an_environment_of_ones_own() -> None:
    collector = DataCollector(ScriptedEnv())
    play(collector)
    with_other = collector.create_dataset("test/other-v0", eval_env="CartPole-v1")
    assert with_other.recover_environment(eval_env=True).spec.id == "CartPole-v1"
    assert with_other.eval_env_spec.id == "CartPole-v1"
