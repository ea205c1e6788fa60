"""Common base of the parts of the conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from minari._storages.base import MinariStorage
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, draw_truth


OBSERVATIONS = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (2,), np.float32), "t": spaces.Text(4)})
ACTIONS = spaces.Discrete(5)


class Suite:
    """Base class of every part: creates storages, and lists the cases of parameterized tests."""

    data_format: ClassVar[str]

    #: Name of a test argument -> its values, or a function that returns them for a test class.
    cases: ClassVar[dict[str, Iterable[Any] | Callable[[type[Suite]], Iterable[Any]]]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run a test once for each of its cases; pytest calls this method."""
        for part in type(self).__mro__:
            for name, values in vars(part).get("cases", {}).items():
                if name in metafunc.fixturenames:
                    metafunc.parametrize(name, list(values(type(self)) if callable(values) else values))

    def new(
        self,
        directory: Path,
        observation_space: Any = OBSERVATIONS,
        action_space: Any = ACTIONS,
        **options: Any,
    ) -> MinariStorage:
        """Return an empty storage of the format under test in its own directory."""
        number = len(list(directory.iterdir()))
        options.setdefault("data_format", self.data_format)
        return MinariStorage.new(directory / f"{number}" / "data", observation_space, action_space, **options)

    def filled(self, directory: Path, lengths: Iterable[int]) -> tuple[MinariStorage, list[Truth]]:
        """Return a storage with episodes of these lengths, and their content."""
        storage = self.new(directory)
        truths = [self.draw(length, seed) for seed, length in enumerate(lengths)]
        storage.update_episodes([as_buffer(truth) for truth in truths])
        return storage, truths

    def draw(self, length: int, seed: int, **infos: Any) -> Truth:
        """Return an episode of the default spaces of :meth:`new`, unless others are given."""
        return draw_truth(OBSERVATIONS, ACTIONS, length, seed, infos)

    def assert_holds(
        self,
        storage: MinariStorage,
        truths: Iterable[Truth],
        observation_space: gym.Space[Any] = OBSERVATIONS,
        action_space: gym.Space[Any] = ACTIONS,
    ) -> None:
        """Require exactly these episodes, in the storage and after opening it again."""
        expected = list(truths)
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert opened.total_episodes == len(expected)
            assert opened.total_steps == sum(len(truth["rewards"]) for truth in expected)
            episodes = list(opened.get_episodes(range(len(expected))))
            assert [episode["id"] for episode in episodes] == list(range(len(expected)))
            for episode, truth in zip(episodes, expected, strict=True):
                assert_episode(episode, observation_space, action_space, truth)


@contextmanager
def refused(error: type[Exception], *words: str) -> Iterator[None]:
    """Require that the block raises an error whose message contains these words."""
    message = None
    try:
        yield
    except error as raised:
        message = str(raised)
    assert message is not None, f"{error.__name__} was expected, and nothing was raised"
    missing = [word for word in words if word not in message]
    assert not missing, f"the message {message!r} does not have {missing}"
