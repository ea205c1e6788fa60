"""imitation: trajectories as a directory of Arrow files, and the older NPZ files.

Both have, for each trajectory, T+1 ``obs``, T ``acts``, ``rews`` where there are any, and the flag ``terminal``. A
trajectory that is terminal is terminated at its last step, and another one truncated there. Rollouts made with Gym
mark time limits as terminal too, which no file tells apart; the option ``terminal`` takes all such ends as truncations.
Files without ``rews`` need the option ``rewards``. In NPZ files, ``indices`` has the actions at which the trajectories
are cut, and ``infos``, which are pickled, are never read. In Arrow files, infos are JSON: those that have a number in
each step become infos of the observation after it. Source: imitation's ``data/serialize.py`` and
``data/huggingface_utils.py``, and its files.

Export writes the directory, which needs pyarrow, as reading it does: ``pip install "minari[arrow]"``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from minari._base.data_file import DataFile
from minari._base.json_text import parse_json
from minari._base.plugins import Target, load_class
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import InterchangeError
from minari.interchange.flat_rows import flags_of
from minari.interchange.format import Format, Report, Source, check_array_spaces
from minari.interchange.imitation.npz import NpzFile, is_npz
from minari.interchange.trajectories import MissingRewards, Trajectory, after_steps, episodes_of, missing_rewards
from minari.spaces.inference import infer_action_space, infer_observation_space


__all__ = ["Imitation"]

#: How a trajectory that is terminal ended.
Terminal: TypeAlias = Literal["terminated", "truncated"]

_ARROW: Final[Target] = ("minari.interchange.imitation.arrow:ArrowTrajectories", "minari[arrow]")
_NPZ: Final = {"obs", "acts", "indices", "terminal"}
_FEATURES: Final = {"obs", "acts", "terminal"}
_AT_ONCE: Final = 2**16  # actions
_MOST_JSON: Final = 2**24  # bytes


class Part(Protocol):
    """A trajectory as it is stored."""

    obs: npt.NDArray[Any]
    acts: npt.NDArray[Any]
    rews: npt.NDArray[Any] | None
    terminal: bool
    infos: dict[str, npt.NDArray[Any]]


class Imitation(Format):
    """Format of imitation."""

    NAME = "imitation"

    def sniff(self, path: Path) -> bool:
        """Return whether a file or directory has the columns of trajectories."""
        if path.is_dir():
            return (path / "state.json").is_file() and _FEATURES.issubset(_features(path))
        return is_npz(path) and _NPZ.issubset(NpzFile(path).names)

    def read(self, path: Path, *, rewards: MissingRewards = "error", terminal: Terminal = "terminated") -> Source:
        """Return the trajectories of a directory or file.

        Args:
            path: the directory with Arrow files, or the NPZ file.
            rewards: ``"zeros"`` to fill in zeros in files without ``rews``.
            terminal: how trajectories that are terminal ended.

        Raises:
            InterchangeError: it is damaged, or lacks something.
            MissingDependencyError: it is a directory, and pyarrow is not installed.
        """
        report = Report(self.NAME, "import")
        report.note("assumed", "the spaces, which the files do not have, follow from dtypes, shapes and values")
        report.note("assumed", f"trajectories that are terminal are {terminal}, others are truncated (terminal)")
        parts = _arrow(path, report) if path.is_dir() else _Npz(path, report)
        first = next(iter(parts.trajectories()), None)
        if first is None:
            raise InterchangeError(f"{path} has no trajectory, expected at least one.")
        spaces = infer_observation_space(first.obs), infer_action_space(parts.action_values())

        def trajectory(number: int, part: Part) -> Trajectory:
            name, steps = f"trajectory {number}", len(part.acts)
            found = part.rews if part.rews is not None else missing_rewards(rewards, path, steps, report)
            is_terminated = part.terminal and terminal == "terminated"
            last = np.arange(steps) == steps - 1
            if len(part.obs) != steps + 1 or len(found) != steps:
                raise InterchangeError(
                    f"The {name} of {path} has {len(part.obs)} observations, {steps} actions and {len(found)} rewards, "
                    f"expected one more observation than steps; the file is damaged."
                )
            infos = after_steps(part.infos)
            return Trajectory(name, part.obs, part.acts, found, last & is_terminated, last & (not is_terminated), infos)

        trajectories = itertools.starmap(trajectory, enumerate(parts.trajectories()))
        return Source(*spaces, episodes_of(trajectories, path, "error", report), report, parts.count)

    def write(self, dataset: MinariDataset, path: Path) -> Report:
        """Write a directory with an Arrow file, which ``imitation.data.serialize.load`` reads.

        Args:
            dataset: its observations and actions are one array a step.
            path: the new directory.

        Raises:
            InterchangeError: its spaces are of other kinds.
            MissingDependencyError: pyarrow is not installed.
        """
        report = Report(self.NAME, "export")
        check_array_spaces(dataset)
        load_class(("minari.interchange.imitation.arrow:write", "minari[arrow]"), "Directories of imitation need")(
            dataset, path, report
        )
        report.note("missing", "infos, spaces, seeds, options and other metadata of episodes and of the dataset")
        return report


def _arrow(path: Path, report: Report) -> Any:
    return load_class(_ARROW, "Directories of imitation need")(path, report)


def _features(path: Path) -> set[str]:
    """Return the names of the columns of a directory of Arrow files."""
    place = path / "dataset_info.json"
    if not place.is_file():
        return set()
    with DataFile(place) as file:
        found = parse_json(file.read_at(0, min(file.size, _MOST_JSON)))
    features = found.get("features") if isinstance(found, dict) else None
    return set(features) if isinstance(features, dict) else set()


class _NpzPart:
    """A trajectory in an NPZ file."""

    def __init__(
        self, obs: npt.NDArray[Any], acts: npt.NDArray[Any], rews: npt.NDArray[Any] | None, terminal: bool
    ) -> None:
        self.obs, self.acts, self.rews, self.terminal = obs, acts, rews, terminal
        self.infos: dict[str, npt.NDArray[Any]] = {}


class _Npz:
    """The trajectories of an NPZ file."""

    def __init__(self, path: Path, report: Report) -> None:
        self._file = NpzFile(path)
        if missing := sorted(_NPZ - self._file.names):
            raise InterchangeError(f"{path} has no {' and no '.join(missing)}, expected the arrays of imitation.")
        if "infos" in self._file.names:
            report.note("missing", "infos, which are pickled and never read")
        total, rows = (self._file.stream(name).shape[0] for name in ("acts", "obs"))
        self._terminal = flags_of("terminal flags", self._file.read("terminal"), path)
        cuts = self._file.read("indices")
        self.count = len(self._terminal)
        if cuts.ndim != 1 or len(cuts) + 1 != self.count or (len(cuts) and cuts.dtype.kind not in "iu"):
            raise InterchangeError(
                f"{path} has {self.count} terminal flags and {cuts.shape[0]} indices, expected one index less."
            )
        bounds = np.concatenate([[0], cuts.astype(np.int64), [total]])
        self._steps = np.diff(bounds)
        if (self._steps < 0).any() or rows != total + self.count:
            raise InterchangeError(
                f"{path} has {rows} observations and {total} actions, cut into {self.count} trajectories, expected one "
                f"more observation in each."
            )

    def trajectories(self) -> Iterator[Part]:
        """Yield the trajectories, with their arrays."""
        obs, acts = (self._file.stream(name) for name in ("obs", "acts"))
        rews = self._file.stream("rews") if "rews" in self._file.names else None
        for steps, terminal in zip(self._steps.tolist(), self._terminal.tolist(), strict=True):
            taken = None if rews is None else rews.take(steps)
            yield _NpzPart(obs.take(steps + 1), acts.take(steps), taken, terminal)

    def action_values(self) -> npt.NDArray[Any]:
        """Return what the space of actions follows from: the limits of choices, or one row of others."""
        acts = self._file.stream("acts")
        if len(acts.shape) > 1 or acts.dtype.kind not in "iu":
            return acts.take(min(1, acts.shape[0]))
        found = np.zeros(0, acts.dtype)
        for start in range(0, acts.shape[0], _AT_ONCE):
            rows = acts.take(min(_AT_ONCE, acts.shape[0] - start))
            found = np.array([*found, rows.min(), rows.max()])
            found = np.array([found.min(), found.max()])
        if not len(found):
            raise InterchangeError(f"{self._file.path} has no action, expected at least one.")
        return found
