"""The running episode: its columns hold what plain lists of the values hold, whatever comes, whoever interrupts."""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import minari.data_collector
from minari import DataCollector
from minari._model import infos as infos_module
from minari._model.buffer_batches import joined
from minari._model.infos import append_info
from minari.data_collector.recorder import EpisodeRecorder
from minari.dataset.encoding import EpisodeCodec
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.spaces import EpisodeBatch, path_name
from minari.testing.comparison import assert_same
from support.scripted import ScriptedEnv


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

BOX, DISCRETE = spaces.Box(-99, 99, (2,), np.float32), spaces.Discrete(5)
NESTED = spaces.Dict(
    a=BOX, b=spaces.Tuple([spaces.Box(-99, 99, (), np.float64), DISCRETE, spaces.Text(3, min_length=0)])
)


def numbers(*dtypes: Any, shape: tuple[int, ...] = (2,)) -> st.SearchStrategy[Any]:
    """Arrays of one of the dtypes."""
    values = st.sampled_from([0, 1, 2, 3])
    return st.builds(lambda value, dtype: np.full(shape, value, dtype), values, st.sampled_from(dtypes))


usual_vectors = numbers(np.float32)
other_vectors = numbers(np.float64, np.float16, np.int64, np.bool_)
odd_vectors = st.one_of(
    other_vectors,
    *(numbers(np.float32, shape=shape) for shape in ((3,), (1,), ())),
    st.sampled_from([[1.0, 2.0], (1, 2), np.full(2, np.nan, np.float32), 1.0, None, "off"]),
)
usual_choices = st.sampled_from([np.int64(0), np.int64(3)])
odd_choices = st.sampled_from(
    [1, True, np.int32(2), np.uint8(1), np.bool_(True), np.array(2), 0.5, np.float64(1), None]
)
usual_rewards = st.sampled_from([0.0, -1.5, 1e300])
odd_rewards = st.sampled_from([1, True, np.float64(0.1), np.float32(0.1), np.array([0.5]), np.array([1.0, 2.0]), None])
usual_flags = st.booleans()
odd_flags = st.sampled_from([np.True_, np.False_, 0, 1, 1.0, np.array([True]), 2, None])
usual_infos = st.just({})
odd_infos = st.sampled_from([{"a": 1}, {"a": 2.0, "b": {"c": np.zeros(2)}}, {"b": {}}, {"b": None}])
nested_observations = st.fixed_dictionaries(
    {
        "a": st.one_of(usual_vectors, odd_vectors),
        "b": st.tuples(st.sampled_from([0.5, np.array(0.5)]), usual_choices, st.sampled_from(["", "abc"])),
    }
)


def steps_of(
    observations: st.SearchStrategy[Any], choices: st.SearchStrategy[Any], *others: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(observations, choices, *others), min_size=1, max_size=6)


usual_steps = steps_of(usual_vectors, usual_choices, usual_rewards, usual_flags, usual_flags, usual_infos)
odd_steps = steps_of(
    usual_vectors | odd_vectors,
    usual_choices | odd_choices,
    usual_rewards | odd_rewards,
    usual_flags | odd_flags,
    usual_flags | odd_flags,
    usual_infos | odd_infos,
)


def in_lists(space: spaces.Space[Any], reset: tuple[Any, Any], steps: list[Any]) -> EpisodeBuffer:
    """The steps in the lists of a buffer, which take everything as it is."""
    observation, info = copy.deepcopy(reset)
    observations, infos = [observation], append_info({}, info, 0)
    columns: list[list[Any]] = [[], [], [], []]
    for number, (observation, *values, info) in enumerate(copy.deepcopy(steps), 1):
        observations.append(observation)
        append_info(infos, info, number)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    return EpisodeBuffer(None, 3, None, in_columns(space, observations), *columns, infos)


def in_columns(space: spaces.Space[Any], values: list[Any]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: in_columns(part, [value[key] for value in values]) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(in_columns(part, [value[i] for value in values]) for i, part in enumerate(space))
    return values


def deface(value: Any) -> None:
    """Do what an environment does that uses its arrays again."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value.fill(77)
    elif isinstance(value, (dict, tuple, list)):
        for part in value.values() if isinstance(value, dict) else value:
            deface(part)


def in_recorder(recorder: EpisodeRecorder, reset: tuple[Any, Any], steps: list[Any]) -> EpisodeBuffer:
    recorder.start(*(first := copy.deepcopy(reset)), seed=3, options=None)
    deface(first)
    for count, step in enumerate(map(copy.deepcopy, steps), 1):
        observation, action, *others = step
        recorder.act(action)
        assert recorder.add(observation, *others) == len(recorder) == count
        deface(step)
    return recorder.take()


def stored(codec: EpisodeCodec, buffer: EpisodeBuffer) -> Any:
    """Return what a storage receives of an episode, or why it rejects it."""
    try:
        episode = codec.encode(buffer)
    except ValueError as error:
        return type(error), str(error)
    return episode.total_steps, dict(episode.columns), episode.metadata


def assert_stored_alike(space: spaces.Space[Any], episodes: list[Any]) -> None:
    """Episodes recorded one after the other are stored as lists of the same values are."""
    recorder, codec = EpisodeRecorder(space, DISCRETE), EpisodeCodec(space, DISCRETE)
    recorded = [in_recorder(recorder, reset, steps) for reset, steps in episodes]
    for buffer, (reset, steps) in zip(recorded, episodes, strict=True):
        actual, expected = stored(codec, buffer), stored(codec, in_lists(space, reset, steps))
        assert type(actual[1]) is type(expected[1])
        if isinstance(expected[1], str):
            assert actual == expected
        else:
            spelled = ({path_name(path): column for path, column in one[1].items()} for one in (actual, expected))
            assert_same(*spelled)
            assert (actual[0], actual[2]) == (expected[0], expected[2])


vectors = usual_vectors | other_vectors
steps_of_vectors = steps_of(vectors, usual_choices, usual_rewards, usual_flags, usual_flags, usual_infos)


@given(st.lists(st.tuples(st.tuples(vectors, usual_infos), steps_of_vectors), min_size=1, max_size=3))
def test_vectors_of_changing_dtypes_are_stored_as_lists_are(episodes: Any) -> None:
    assert_stored_alike(BOX, episodes)


@given(
    st.tuples(usual_vectors | odd_vectors, usual_infos | odd_infos),
    usual_steps,
    odd_steps,
    st.tuples(st.tuples(usual_vectors, usual_infos), usual_steps),
)
def test_odd_values_in_the_middle_of_an_episode_are_stored_as_lists_are(
    reset: Any, usual: Any, odd: Any, after: Any
) -> None:
    """The episode after it is as usual again, but for the dtype, which follows the environment."""
    assert_stored_alike(BOX, [(reset, usual + odd), after])


@given(
    st.tuples(nested_observations, usual_infos | odd_infos),
    steps_of(nested_observations, odd_choices | usual_choices, usual_rewards, usual_flags, usual_flags, usual_infos),
)
def test_nested_values_are_stored_as_lists_are(reset: Any, steps: Any) -> None:
    assert_stored_alike(NESTED, [(reset, steps)] * 2)


def test_episodes_of_any_length_are_not_written_over() -> None:
    """The rows of a column serve one episode after the other."""
    first = itertools.count()

    def step(time: int) -> Any:
        return np.full(2, time, np.float32), np.int64(time % 5), float(time), time % 2 == 0, False, {}

    lengths = [3, 200, 190, 40, 63, 64, 65, 150, 500, 1, 370, 380]
    assert_stored_alike(BOX, [(step(next(first))[::5], [step(next(first)) for _ in range(n)]) for n in lengths])


@given(
    st.lists(st.tuples(st.tuples(vectors | odd_vectors, usual_infos | odd_infos), usual_steps | odd_steps), max_size=5),
    st.lists(st.tuples(st.tuples(vectors, usual_infos), steps_of_vectors), min_size=2, max_size=5),
)
def test_episodes_of_one_kind_are_encoded_together_as_alone(odd: Any, usual: Any) -> None:
    recorder, codec = EpisodeRecorder(BOX, DISCRETE), EpisodeCodec(BOX, DISCRETE)
    buffers = [in_recorder(recorder, reset, steps) for reset, steps in odd + usual]
    kinds = [codec.kind_in_batch(buffer) for buffer in buffers]
    for kind in {kind for kind in kinds if kind is not None}:
        group = [buffer for buffer, its_kind in zip(buffers, kinds, strict=True) if its_kind == kind]
        batch = joined(group)
        columns = codec.encode_batch(batch)
        assert columns is not None
        for buffer, found in zip(group, EpisodeBatch(batch.total_steps, columns, batch.metadata), strict=True):
            expected = codec.encode(buffer)
            assert_same(*({path_name(path): v for path, v in one.columns.items()} for one in (found, expected)))
            assert (found.total_steps, found.metadata) == (expected.total_steps, expected.metadata)


def test_usual_episodes_have_a_kind() -> None:
    recorder, codec = EpisodeRecorder(BOX, DISCRETE), EpisodeCodec(BOX, DISCRETE)
    reset, step = (np.zeros(2, np.float32), {}), (np.ones(2, np.float32), np.int64(1), 1.0, False, True, {})
    usual = in_recorder(recorder, reset, [step] * 3)
    assert codec.kind_in_batch(usual) is not None
    for name, value in {
        "infos": {"a": [1, 2, 3, 4]},
        "options": {"a": 1},
        "seed": 2**63,
        "rewards": [1.0, 1, 1.0],
        "actions": [np.int64(1), 1, np.int64(1)],
        "terminations": [False, 0, False],
        "observations": np.zeros((4, 3), np.float32),
    }.items():
        assert codec.kind_in_batch(replace(usual, **{name: value})) is None, name


# Interruptions


MODULES = {*map(str, Path(minari.data_collector.__path__[0]).glob("*.py")), infos_module.__file__}


class Interruption:
    """A KeyboardInterrupt at the n-th instruction that the library executes for a step."""

    def __init__(self, instruction: int) -> None:
        self.left, self.came = instruction, False

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in MODULES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left < 0:
                self.came = True
                raise KeyboardInterrupt
        return self


def interrupted(step: Callable[[], Any], instruction: int) -> bool:
    """Return whether the step took as many instructions."""
    before, interruption = sys.gettrace(), Interruption(instruction)
    sys.settrace(interruption)
    try:
        step()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return interruption.came


@pytest.mark.parametrize("case", ["usual", "nested", "odd"])
def test_a_step_is_recorded_whole_or_not_at_all(case: str) -> None:
    """Whichever instruction an interruption hits, every column has the same steps."""
    observe: Callable[[int], Any] = {
        "usual": lambda time: np.full(2, time, np.float32),
        "nested": lambda time: {"a": np.full(2, time, np.float32), "b": (np.full((), time, np.float64), time, "")},
        "odd": lambda time: [time, time],
    }[case]
    env = ScriptedEnv(
        observe,
        inform=(lambda time: {}) if case == "usual" else (lambda time: {"a": [time], "b": {"c": [time]}}),
        reward=lambda time: np.float64(time) if case == "odd" else float(time),
        observation_space=NESTED if case == "nested" else BOX,
        action_space=spaces.Discrete(99),
        length=99,
    )
    collector = DataCollector(env, record_infos=True)
    for instruction in itertools.count():
        collector.reset(seed=instruction)
        collector.step(1)
        came = interrupted(lambda: collector.step(2), instruction)
        for time in range(env.time + 1, 5):
            collector.step(time)
        if not came:
            break
    assert instruction > 100
    whole = 0
    for episode in collector.create_dataset("test/interrupted-v0"):
        times = episode.rewards.astype(int).tolist()
        assert times in ([1, 2, 3, 4], [1, 2], [1], [3, 4], [4]), "no transition is invented"
        assert bool(episode.truncations[-1])
        whole += len(times) == 4
        assert episode.actions.tolist() == times
        assert len(episode.terminations) == len(episode.truncations) == len(times)
        observations = episode.observations["a"] if case == "nested" else episode.observations
        states = [times[0] - 1, *times]
        assert observations[:, 0].tolist() == states
        if case == "nested":
            assert [observation.tolist() for observation in episode.observations["b"][:2]] == [states] * 2
        if case != "usual":
            assert episode.infos["a"][:, 0].tolist() == episode.infos["b"]["c"][:, 0].tolist() == states
    assert 1 < whole < instruction  # some interruptions came before the step was recorded, and some after
