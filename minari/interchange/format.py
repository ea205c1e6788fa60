"""The interface of a format of other programs: recognize and read its files, and write a dataset to them."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeAlias

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from minari._base.json_text import shortened
from minari._base.suggestions import did_you_mean
from minari._model.episode_buffer import AnyEpisodeBuffer
from minari._model.multi_agent import SpacesByAgent
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, InterchangeError
from minari.spaces import ColumnPath


__all__ = [
    "ARRAY_SPACES",
    "FINAL_OBSERVATIONS",
    "FinalObservation",
    "Format",
    "ImportedImages",
    "Report",
    "Source",
    "check_array_spaces",
    "check_options",
    "options_of",
]

#: Whether JPEG frames of a source are decoded, or stay as they are.
ImportedImages: TypeAlias = Literal["decoded", "encoded"]

#: What to do where a source has no observation after the last step of an episode.
FinalObservation: TypeAlias = Literal["error", "repeat", "drop_last_step", "next_row"]
FINAL_OBSERVATIONS: Final = ("error", "repeat", "drop_last_step", "next_row")

#: The spaces whose values are one array of numbers.
ARRAY_SPACES: Final = gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary

_FIXED: Final = ("self", "path", "dataset")


@dataclass(slots=True)
class Report:
    """Record of what a conversion took, assumed and could not hold; it grows while episodes are read.

    Attributes:
        format: the name of the other format.
        direction: ``"import"`` or ``"export"``.
        options: the options of the conversion that were given.
        episodes: number of converted episodes.
        steps: number of their steps.
        taken: sentences about what was converted, and to what.
        assumed: sentences about what the source does not say.
        missing: sentences about what the source has and the destination has not.
    """

    format: str
    direction: Literal["import", "export"]
    options: dict[str, Any] = field(default_factory=dict)
    episodes: int = 0
    steps: int = 0
    taken: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def note(self, kind: Literal["taken", "assumed", "missing"], sentence: str) -> None:
        """Add a sentence, once."""
        sentences: list[str] = getattr(self, kind)
        if sentence not in sentences:
            sentences.append(sentence)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as a JSON object, in which empty lists are left out."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value not in ([], {})}


@dataclass(frozen=True, slots=True)
class Source:
    """Episodes in another format, which are read when they are iterated over.

    Attributes:
        observation_space: the space of the observations; by agent if there are many.
        action_space: the space of the actions.
        episodes: the episodes; an iterator, which can be used once.
        report: what is known about the conversion, complete after the last episode.
        total: the number of episodes; None if it is not known in advance.
        metadata: metadata of the dataset, such as ``description``.
        env_spec: the spec of the environment, if the source names one.
        encoded: the paths of the observations whose frames are JPEG byte strings, such as
            ``("observations", "image")``, see :func:`minari.interchange.encoded_frames.encoded_paths`.
    """

    observation_space: gym.Space[Any] | SpacesByAgent
    action_space: gym.Space[Any] | SpacesByAgent
    episodes: Iterable[AnyEpisodeBuffer]
    report: Report
    total: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    env_spec: EnvSpec | None = None
    encoded: frozenset[ColumnPath] = frozenset()


class Format(ABC):
    """A format of other programs.

    The options of a format are the keyword-only arguments of :meth:`read` and :meth:`write`.
    """

    #: The name, as in ``minari import NAME``.
    NAME: ClassVar[str]
    #: True if it can be written with episodes of many agents; otherwise :func:`export_dataset` refuses them.
    HOLDS_AGENTS: ClassVar[bool] = False
    #: True if its files are pickles, which are recognized only to say what to do instead.
    IS_REFUSED: ClassVar[bool] = False

    @abstractmethod
    def sniff(self, path: Path) -> bool:
        """Return whether a file or directory looks like this format; only a few bytes are read."""

    @abstractmethod
    def read(self, path: Path) -> Source:
        """Return the episodes of a file or directory; no values of episodes are read yet.

        Args:
            path: the file or directory, which exists.

        Raises:
            InterchangeError: it is damaged, or has something that cannot be converted.
        """

    def write(self, dataset: MinariDataset, path: Path) -> Report:
        """Write the episodes of a dataset or view.

        Args:
            dataset: the dataset.
            path: the new file or directory, which does not exist, in a directory that does.

        Raises:
            InterchangeError: the format cannot hold the dataset, or only be read.
        """
        raise InterchangeError(f"The format {self.NAME!r} can be read and not written, expected another format.")

    @property
    def is_writable(self) -> bool:
        """Return whether datasets can be written in this format."""
        return type(self).write is not Format.write


def check_array_spaces(dataset: MinariDataset) -> None:
    """Raise unless observations and actions are one array a step, for formats that have no nested ones.

    Raises:
        InterchangeError: one of them is of another space.
    """
    for name, space in (("observations", dataset.observation_space), ("actions", dataset.action_space)):
        if not isinstance(space, ARRAY_SPACES):
            raise InterchangeError(
                f"The {name} of {dataset.id} are of the space {shortened(space)}, expected one array a step; flatten "
                f"them with a wrapper before recording."
            )


def options_of(function: Any) -> dict[str, inspect.Parameter]:
    """Return the options of :meth:`Format.read` or :meth:`Format.write` by their names."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {name: one for name, one in parameters.items() if name not in _FIXED}


def check_options(name: str, function: Any, given: Mapping[str, Any]) -> None:
    """Raise unless a format has the given options, and the values of those that have choices are among them.

    Args:
        name: of the format.
        function: its ``read`` or ``write``.
        given: the options.

    Raises:
        ArgumentError: it has not.
    """
    known = options_of(function)
    for option, value in given.items():
        if option not in known:
            expected = f"one of {', '.join(map(repr, known))}" if known else "none"
            raise ArgumentError(
                f"The format {name!r} has no option {option!r}, expected {expected}.{did_you_mean(option, known)}"
            )
        choices = getattr(known[option].annotation, "__args__", ())
        if choices and all(isinstance(choice, str) for choice in choices) and value not in choices:
            raise ArgumentError(f"{option} is {shortened(value)}, expected one of {', '.join(map(repr, choices))}.")
