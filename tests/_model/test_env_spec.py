"""Specs of environments: nothing in them keeps data from being written or read."""

from __future__ import annotations

import dataclasses
import enum
import json
import pathlib
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.wrappers import FlattenObservation, TimeAwareObservation, TransformReward

import minari
from minari._model.env_spec import (
    env_spec_to_json,
    make_environment,
    merge_max_episode_steps,
    parse_env_spec,
    spaces_of,
    specs_equal_up_to_max_episode_steps,
)
from minari.errors import EnvironmentSpecError


class Corridor(gym.Env[int, int]):
    """Walk to the end; its arguments may be anything."""

    observation_space = gym.spaces.Discrete(5)
    action_space = gym.spaces.Discrete(2)
    metadata = {"render_modes": ["human"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, length: Any = 5, render_mode: str | None = None) -> None:
        self.length, self.render_mode = length, render_mode
        self.closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 1, 0.0, False, False, {}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An importable module that holds the environment, as an installed package would."""
    module = types.ModuleType("corridors")
    module.Corridor = Corridor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "corridors", module)
    monkeypatch.setattr(Corridor, "__module__", "corridors")
    return module


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Remove registrations made by a test."""
    before = dict(gym.registry)
    yield
    gym.registry.clear()
    gym.registry.update(before)


def corridor(**fields: Any) -> EnvSpec:
    return EnvSpec(**{"id": "Corridor-v0", "entry_point": "corridors:Corridor", **fields})


def written(env: Any) -> Any:
    """Return the stored spec of an environment, without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return json.loads(str(env_spec_to_json(env)))


def test_the_layout_is_gymnasiums_whatever_is_given() -> None:
    env = FlattenObservation(TimeAwareObservation(gym.make("CartPole-v1", max_episode_steps=7)))
    assert env.spec is not None
    assert env_spec_to_json(env) == env_spec_to_json(env.spec) == env.spec.to_json()
    assert parse_env_spec(env.spec.to_json()) == env.spec
    spec = gym.spec("CartPole-v1")
    assert written("CartPole-v1") == written(spec) == json.loads(spec.to_json())
    assert env_spec_to_json(None) is None
    assert env_spec_to_json(Corridor()) is None
    envs = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    assert written(envs)["id"] == "CartPole-v1"
    envs.close()


def test_a_class_of_a_module_is_stored_by_its_name(module: types.ModuleType) -> None:
    gym.register("Corridor-v0", entry_point=Corridor, vector_entry_point=Corridor)  # type: ignore[arg-type]
    description = written("Corridor-v0")
    assert (description["entry_point"], description["vector_entry_point"]) == ("corridors:Corridor",) * 2
    gym.registry.clear()
    env = make_environment(parse_env_spec(json.dumps(description)), length=9)
    assert isinstance(env.unwrapped, Corridor)
    assert env.unwrapped.length == 9


def test_any_other_callable_is_left_out_with_a_warning() -> None:
    gym.register("Corridor-v0", entry_point=lambda **kwargs: Corridor(**kwargs), max_episode_steps=3)
    with pytest.warns(UserWarning, match=r"Corridor-v0 is stored without its entry_point"):
        text = env_spec_to_json(gym.make("Corridor-v0"))
    spec = parse_env_spec(str(text))
    assert (spec.id, spec.entry_point, spec.max_episode_steps) == ("Corridor-v0", None, 3)
    # It can be recovered as long as the id is registered, and the error says so when it is not.
    assert isinstance(make_environment(spec).unwrapped, Corridor)
    del gym.registry["Corridor-v0"]
    with pytest.raises(EnvironmentSpecError, match=r"Corridor-v0.*not registered"):
        make_environment(spec)


@pytest.mark.parametrize("function", [Corridor.reset, type("Corridor", (), {"__module__": "gymnasium"})])
def test_a_name_that_finds_something_else_is_not_stored(function: Any) -> None:
    with pytest.warns(UserWarning, match="without its entry_point"):
        text = env_spec_to_json(corridor(entry_point=function))
    assert parse_env_spec(str(text)).entry_point is None


class Gait(enum.Enum):
    WALK = "walk"
    RUN = 2


@dataclasses.dataclass
class Motor:
    gain: float = 0.5
    gait: Gait = Gait.RUN
    limits: tuple[int, ...] = (1, 2)
    inner: Motor | None = None


WALKING = {"gain": 0.5, "gait": "walk", "limits": [1, 2], "inner": None}
ARGUMENTS: dict[str, tuple[Any, Any]] = {
    "dataclass": (Motor(inner=Motor(gait=Gait.WALK)), {"gain": 0.5, "gait": 2, "limits": [1, 2], "inner": WALKING}),
    "numbers as keys": ({1: "a", 2.5: "b", None: "c"}, {"1": "a", "2.5": "b", "null": "c"}),
    "NumPy keys": ({np.int64(3): np.float32(0.5)}, {"3": 0.5}),
    "NumPy numbers": ([np.bool_(True), np.int64(3)], [True, 3]),
    "enum": ([Gait.RUN, {Gait.WALK: Gait.WALK}], [2, {"walk": "walk"}]),
    "path": (pathlib.PurePosixPath("/maps/a.yaml"), "/maps/a.yaml"),
    "array": ({"goal": np.arange(4.0).reshape(2, 2)}, {"goal": [[0.0, 1.0], [2.0, 3.0]]}),
    "tuple": ((1, (2, {"x": (3,)})), [1, [2, {"x": [3]}]]),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "range": (range(2, 5), [2, 3, 4]),
    "spec": ([WrapperSpec("W", "m:W", {"a": 1})], [{"name": "W", "entry_point": "m:W", "kwargs": {"a": 1}}]),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_arguments_are_kept_as_json_has_them(module: types.ModuleType, kind: str) -> None:
    value, expected = ARGUMENTS[kind]
    spec = corridor(kwargs={"length": value}, reward_threshold=np.float32(0.5))
    wrapped = dataclasses.replace(spec, additional_wrappers=(WrapperSpec("W", "m:W", {"scale": value}),))
    stored = parse_env_spec(json.dumps(written(wrapped)))
    assert (stored.kwargs, stored.reward_threshold) == ({"length": expected}, 0.5)
    assert stored.additional_wrappers[0].kwargs == {"scale": expected}
    assert make_environment(parse_env_spec(json.dumps(written(spec)))).unwrapped.length == expected  # type: ignore[attr-defined]


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (len, "builtin_function_or_method"),
        (object(), "object"),
        (Motor, "type"),
        (Motor(inner=object()), "Motor"),  # type: ignore[arg-type]
        ({"a": [{"b": min}]}, "dict"),
        ({(0, 1): 2}, "dict"),
        ({1: "a", "1": "b"}, "dict"),
        (b"bytes", "bytes"),
        (spaces.Discrete(2), "Discrete"),
        (np.zeros((300, 300)), "ndarray"),
        (LOOP, "list"),
    ],
)
def test_an_argument_that_json_cannot_hold_is_asked_for(module: types.ModuleType, value: Any, kind: str) -> None:
    spec = corridor(kwargs={"length": value, "render_mode": None})
    message = r"arguments length, which JSON cannot hold.*recover_environment\(length="
    with pytest.warns(UserWarning, match=message) as notes:
        text = env_spec_to_json(spec)
    assert len(notes) == 1
    assert len(str(text)) < 1000
    stored = parse_env_spec(str(text))
    with pytest.raises(EnvironmentSpecError, match=rf"length \({kind}\).*recover_environment\(length=\.\.\.\)"):
        make_environment(stored)
    with pytest.raises(TypeError, match="length"):
        gym.make(stored)
    for given in ("given", None):
        assert make_environment(stored, length=given).unwrapped.length == given  # type: ignore[attr-defined]
    assert written(stored) == json.loads(str(text))  # without a warning: it has been said
    assert specs_equal_up_to_max_episode_steps(stored, spec)


def test_recovering_a_dataset_asks_for_what_is_missing(module: types.ModuleType) -> None:
    gym.register("Corridor-v0", entry_point="corridors:Corridor")
    collector = minari.DataCollector(gym.make("Corridor-v0", length=lambda: 3))
    collector.reset(seed=1)
    collector.step(0)
    with pytest.warns(UserWarning, match="without its arguments length") as caught:
        first = collector.create_dataset("corridor/a-v0", eval_env=gym.make("Corridor-v0", length=object()))
    assert sum("without its arguments length" in str(note.message) for note in caught) == 2  # one for each environment
    for dataset in (first, minari.combine_datasets([first, first], "corridor/b-v0"), first.convert("corridor/c-v0")):
        for eval_env in (False, True):
            with pytest.raises(EnvironmentSpecError, match=r"recover_environment\(length=\.\.\.\)"):
                dataset.recover_environment(eval_env)
            assert dataset.recover_environment(eval_env, length=7).unwrapped.length == 7


def test_a_wrapper_that_cannot_be_stored_is_not_made_differently() -> None:
    env = TransformReward(gym.make("CartPole-v1"), lambda reward: reward * 2)
    with pytest.warns(UserWarning, match="TransformReward") as notes:
        text = env_spec_to_json(env)
    assert len(notes) == 1
    spec = parse_env_spec(str(text))
    assert [wrapper.name for wrapper in spec.additional_wrappers] == ["TransformReward"]
    with pytest.raises(EnvironmentSpecError, match=r"CartPole-v1 cannot be made.*arguments func.*TransformReward"):
        make_environment(spec)


def test_a_spec_of_another_kind_is_left_out_with_a_warning() -> None:
    env = Corridor()
    env.spec = "Corridor-v0"  # type: ignore[assignment]
    with pytest.warns(UserWarning, match="not an EnvSpec"):
        assert env_spec_to_json(env) is None


@pytest.mark.parametrize(
    ("value", "named"), [("Nowhere-v0", "Nowhere-v0"), ("nomodule:X-v0", "nomodule"), (3, "got 3")]
)
def test_what_is_no_environment_is_refused(value: Any, named: str) -> None:
    with pytest.raises(EnvironmentSpecError, match=named):
        env_spec_to_json(value)


def test_keys_of_other_releases_are_left_out() -> None:
    wrapper = {"name": "W", "entry_point": "m:W", "kwargs": None, "of_the_future": 1}
    description = {"id": "Corridor-v3", "entry_point": "no.such.module:Corridor", "max_episode_steps": 9}
    others = {"autoreset": True, "apply_api_compatibility": None, "of_the_future": {"x": 1}}
    text = json.dumps(description | others | {"kwargs": {"length": 3}, "additional_wrappers": [wrapper]})
    spec = parse_env_spec(text)
    assert (spec.id, spec.version, spec.max_episode_steps, spec.kwargs) == ("Corridor-v3", 3, 9, {"length": 3})
    assert spec.additional_wrappers == (WrapperSpec("W", "m:W", None),)
    assert parse_env_spec('{"id": "Corridor-v3"}') == EnvSpec("Corridor-v3")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "{}", '{"id": 3}', '{"id": "two words/and/more-v0-v1 "}'),
        *('{"id": "X-v0", "kwargs": 3}', '{"id": "X-v0", "additional_wrappers": 3}'),
        '{"id": "X-v0", "additional_wrappers": [{}]}',
    ],
)
def test_damaged_texts_are_refused(text: str) -> None:
    with pytest.raises(EnvironmentSpecError, match="spec"):
        parse_env_spec(text)


def test_why_an_environment_cannot_be_made_is_said(module: types.ModuleType) -> None:
    missing = corridor(entry_point="no_such_package.envs:Corridor")
    with pytest.raises(EnvironmentSpecError, match="No module named 'no_such_package'; install the package"):
        make_environment(missing)
    with pytest.raises(EnvironmentSpecError, match=r'pip install "corridors>=2" "numpy"'):
        make_environment(missing, ["corridors>=2", "numpy"])
    with pytest.raises(EnvironmentSpecError, match="color") as caught:
        make_environment(corridor(), color="red")
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(EnvironmentSpecError, match="Passage"):
        make_environment(corridor(entry_point="corridors:Passage"))


def test_spaces_are_had_without_a_window(module: types.ModuleType) -> None:
    made: list[Corridor] = []
    module.Corridor = lambda **kwargs: made.append(Corridor(**kwargs)) or made[-1]  # type: ignore[attr-defined]
    assert spaces_of(corridor(kwargs={"render_mode": "human"})) == (Corridor.observation_space, Corridor.action_space)
    assert [(env.render_mode, env.closed) for env in made] == [(None, True)]


def test_specs_are_compared_up_to_the_limit_of_steps() -> None:
    spec = corridor(max_episode_steps=3, kwargs={"length": 2})
    equal = specs_equal_up_to_max_episode_steps
    assert equal(spec, dataclasses.replace(spec, max_episode_steps=None))
    assert equal(spec, dataclasses.replace(spec, kwargs={"length": np.int64(2)}))
    assert equal(spec, parse_env_spec(spec.to_json()))
    assert not equal(spec, dataclasses.replace(spec, kwargs={"length": np.arange(2)}))
    assert not equal(spec, dataclasses.replace(spec, id="Corridor-v1"))
    assert not equal(spec, dataclasses.replace(spec, additional_wrappers=(WrapperSpec("W", "m:W", {}),)))


@pytest.mark.parametrize(
    ("limits", "merged"), [([3], 3), ([3, 9, 5], 9), ([3, None], None), ([None], None), ([], None)]
)
def test_limits_of_steps_are_merged(limits: list[int | None], merged: int | None) -> None:
    assert merge_max_episode_steps([corridor(max_episode_steps=limit) for limit in limits]) == merged
