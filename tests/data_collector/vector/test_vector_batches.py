"""VectorDataCollector and vector environments that return something odd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import minari
from minari import VectorDataCollector
from minari.errors import EpisodeError, EpisodeTypeError
from support.vector import (
    DISABLED,
    MODES,
    NEXT,
    SAME,
    CountingVectorEnv,
    assert_counted,
    drive,
    episodes_by_env,
    info_at,
)


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:Episode .* cannot be stored", "ignore:Observation is not in"),
]


class Foreign:
    """An array of another library: it provides an array, and has no methods of NumPy's."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.values, dtype)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        return map(Foreign, self.values)

    def __getitem__(self, place: Any) -> Foreign:
        return Foreign(self.values[place])

    def __or__(self, other: Foreign) -> Foreign:
        return Foreign(self.values | other.values)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __eq__(self, other: object) -> bool:
        raise TypeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


def counted(mode: AutoresetMode, change: Callable[[Any], Any], **options: Any) -> VectorDataCollector:
    collector = VectorDataCollector(CountingVectorEnv(mode, change), record_infos=True, **options)
    drive(collector, mode, steps=20)
    return collector


def converted(*names: str, to: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    """Convert parts of the result of a step, or of its infos."""

    def change(result: dict[str, Any]) -> None:
        for values in (result, result["infos"]):
            for name in names:
                if name in values:
                    values[name] = to(values[name])

    return change


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(result: dict[str, Any]) -> None:
        for name in names:
            result["infos"].pop(name, None)

    return change


def as_batch(finals: Any) -> np.ndarray:
    return np.array([np.full(3, -7.0) if value is None else value for value in finals])


def foreign(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: foreign(part) for key, part in value.items()}
    if value.dtype == object:
        return objects([None if part is None else Foreign(part) for part in value])
    return Foreign(value)


def objects(values: Any) -> np.ndarray:
    array = np.full(len(values), None, object)
    for index, value in enumerate(values):
        array[index] = value
    return array


def separate(infos: Any) -> list[dict[str, Any]]:
    """The info of each sub-environment."""
    return [
        {key: separate(values)[index] if isinstance(values, dict) else values[index] for key, values in infos.items()
         if not key.startswith("_") and (f"_{key}" not in infos or infos[f"_{key}"][index])}
        for index in range(3)
    ]  # fmt: skip


def with_constant_batch(result: dict[str, Any]) -> None:
    """Put values into ``final_obs`` where nothing has ended, which mean nothing."""
    if "rewards" in result:
        result["infos"]["final_obs"] = as_batch(result["infos"].get("final_obs", [None] * 3))
        result["infos"].pop("_final_obs", None)


EQUIVALENT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nothing": lambda result: None,
    "final_obs: batch": converted("final_obs", to=as_batch),
    "final_obs: batch of another library": converted("final_obs", to=lambda finals: Foreign(as_batch(finals))),
    "final_obs: arrays of another library": converted("final_obs", to=foreign),
    "final_obs: list": converted("final_obs", to=list),
    "final_obs: tuple": converted("final_obs", to=tuple),
    "final_obs: no masks": without("_final_obs", "_final_info"),
    "final_info: list of dicts": converted("final_info", to=separate),
    "final_info: array of dicts": converted("final_info", to=lambda infos: objects(separate(infos))),
    "infos: list": converted("infos", to=separate),
    "infos: tuple": converted("infos", to=lambda infos: tuple(separate(infos))),
    "infos: array of dicts": converted("infos", to=lambda infos: objects(separate(infos))),
    "infos: of another library": converted("infos", to=foreign),
    "flags: lists": converted("terminations", "truncations", to=list),
    "flags: integers": converted("terminations", "truncations", to=lambda flags: flags.astype(np.uint8)),
    "flags: of another library": converted("terminations", "truncations", to=Foreign),
    "rewards: list": converted("rewards", to=list),
    "rewards: objects": converted("rewards", to=lambda rewards: rewards.astype(object)),
    "rewards: of another library": converted("rewards", to=Foreign),
    "rewards: one component": converted("rewards", to=lambda rewards: rewards[:, None]),
    "observations: list": converted("observations", to=list),
    "observations: objects": converted("observations", to=objects),
    "observations: of another library": converted("observations", to=Foreign),
    "observations: list of another library": converted("observations", to=lambda batch: [*map(Foreign, batch)]),
    "all of another library": converted(
        "observations", "rewards", "terminations", "truncations", "infos", to=foreign
    ),
}  # fmt: skip


class PlainCallback(minari.StepDataCallback):
    """Changes nothing, but is called."""


@pytest.mark.parametrize(
    ("mode", "callback"),
    [(NEXT, minari.StepDataCallback), (SAME, minari.StepDataCallback), (SAME, PlainCallback)],
    ids=["next", "same", "same-callback"],
)
@pytest.mark.parametrize("name", EQUIVALENT)
def test_batches_of_any_kind_are_recorded_alike(name: str, mode: AutoresetMode, callback: Any) -> None:
    dataset = counted(mode, EQUIVALENT[name], step_data_callback=callback).create_dataset("test/odd-v0")
    assert len(dataset) >= 12
    assert_counted(dataset)


@pytest.mark.parametrize("callback", [minari.StepDataCallback, PlainCallback], ids=["direct", "callback"])
def test_what_is_in_a_batch_where_nothing_has_ended_is_no_info(callback: Any) -> None:
    collector = counted(SAME, with_constant_batch, step_data_callback=callback)
    assert_counted(collector.create_dataset("test/odd-v0"))


def test_a_dict_without_masks_inside_belongs_to_the_running_episodes_that_have_it() -> None:
    def change(result: dict[str, Any]) -> None:
        result["infos"] = {"own": {"x": np.arange(3)}, "_own": np.ones(3, bool), **result["infos"]}

    dataset = counted(SAME, change).create_dataset("test/odd-v0")
    for index, episodes in episodes_by_env(dataset).items():
        for episode in episodes:
            assert [info_at(episode.infos, row).get("own") for row in range(len(episode))] == [{"x": index}] * len(
                episode
            )


@pytest.mark.parametrize(
    "change",
    [
        without("final_obs", "_final_obs"),
        converted("final_obs", to=lambda finals: finals[:1]),
        converted("final_obs", to=lambda finals: 3.0),
        converted("final_obs", to=lambda finals: objects([None] * 3)),
        converted("infos", to=lambda infos: None),
        converted("infos", to=lambda infos: "text"),
    ],
)
def test_a_missing_last_observation_is_reported_once_and_stops_no_step(change: Any) -> None:
    with pytest.warns(UserWarning, match=r"no last observation.*'final_obs'.*SAME_STEP.*autoreset_mode") as caught:
        collector = counted(SAME, change)
    assert sum("no last observation" in str(warning.message) for warning in caught) == 1
    assert collector.total_episodes >= 12
    with pytest.raises(EpisodeError, match="cannot be stored"):
        collector.create_dataset("test/odd-v0")
    with pytest.warns(UserWarning, match="left out"):
        dataset = collector.create_dataset("test/odd-v0", on_error="skip")
    assert len(dataset) == 1  # the one that was running

    collector.close()


@pytest.mark.parametrize("name", ["observations", "rewards"])
@pytest.mark.parametrize("to", [lambda values: values[:2], lambda values: None], ids=["short", "none"])
def test_a_batch_of_another_number_makes_episodes_that_cannot_be_stored(name: str, to: Any) -> None:
    collector = counted(NEXT, converted(name, to=to))
    with pytest.raises(EpisodeError, match=rf"Episode 0 cannot be stored. The {name} "):
        collector.create_dataset("test/odd-v0")
    collector.discard_episode(-1)
    with pytest.raises(EpisodeTypeError, match=rf"(?s)The {name} of a step .* each of 3 sub-environments"):
        counted(NEXT, converted(name, to=to), step_data_callback=PlainCallback)


@pytest.mark.parametrize("flags", [np.zeros(2, bool), False, None, np.zeros((3, 1), bool)])
def test_flags_that_are_not_one_for_each_sub_environment_are_refused(flags: Any) -> None:
    with pytest.raises(EpisodeTypeError, match=r"(?s)The terminations of a step are .* 3 booleans"):
        counted(NEXT, converted("terminations", to=lambda values: flags))


@pytest.mark.parametrize("callback", [minari.StepDataCallback, PlainCallback], ids=["direct", "callback"])
@pytest.mark.parametrize("mode", MODES)
def test_rewards_of_several_objectives(mode: AutoresetMode, callback: Any) -> None:
    to_two = converted("rewards", to=lambda rewards: np.stack([rewards, -rewards], axis=1))
    for episode in counted(mode, to_two, step_data_callback=callback).create_dataset("test/objectives-v0"):
        times = np.arange(1.0, len(episode) + 1)
        assert episode.rewards.tolist() == np.stack([times, -times], axis=1).tolist()


@pytest.mark.parametrize("mask", [[True, False, True], np.ones(2, bool), np.ones(3), "all"])
def test_a_mask_of_another_kind_is_refused_and_ends_nothing(mask: Any) -> None:
    collector = VectorDataCollector(CountingVectorEnv(DISABLED))
    collector.reset()
    collector.step(np.zeros(3, int))
    with pytest.raises(TypeError, match=r"The reset_mask is .*, expected an array of 3 booleans"):
        collector.reset(options={"reset_mask": mask})
    collector.step(np.zeros(3, int))
    assert [len(episode) for episode in collector.create_dataset("test/mask-v0")] == [2, 2, 2]


def test_a_mask_of_another_library_is_understood() -> None:
    collector = VectorDataCollector(CountingVectorEnv(DISABLED))
    collector.reset()
    collector.step(np.zeros(3, int))
    collector.reset(options={"reset_mask": Foreign([True, False, False])})
    collector.step(np.zeros(3, int))
    assert [len(episode) for episode in collector.create_dataset("test/mask-v0")] == [1, 1, 2, 2]
