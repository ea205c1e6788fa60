"""The environment of a dataset: recovered, with what it asks for, or the reason why not."""

from __future__ import annotations

import json
import logging
import warnings

import gymnasium as gym
import pytest

import minari
from minari import DataCollector, MinariDataset
from minari.errors import EnvironmentSpecError
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
        ("???", r"'\?\?\?' of the dataset is not understood"),
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
    with pytest.raises(EnvironmentSpecError, match=r"Gone-v0.*no_such_module") as caught:
        dataset.recover_environment()
    assert isinstance(caught.value, ValueError)


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
