"""OG-MARL: vaults of flashbax, one endless array for each leaf, with the steps of many agents.

Arrays have the shape (1, steps, agents, ...), of which ``vault_index`` steps are filled. A row has the observations
before a step, the actions, and the rewards and flags after it. An episode ends where every agent is done: ``terminals``
become terminations and ``truncations`` truncations of each agent; rows after the last such end are an episode that is
truncated. The trajectory of an agent that is done before the others ends there; ``after_done="keep"`` keeps its further
rows. The observation after the last step of the others is not stored; ``final_observation`` says where it comes from.

``infos/state`` is the global state; other infos with an axis for the agents (``infos/legals``) belong to the
observation of each before the step. The names of the agents are lost: they are ``agent_0``, ``agent_1``, ..., unless
``agents`` names them. The layout is that of https://github.com/instadeepai/flashbax (``vault.py``, versions 1.0 to
1.2), with the leaves of https://github.com/instadeepai/og-marl.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import tensorstore

from minari._base.files import leads_out, read_regular
from minari._base.json_text import parse_json, shortened
from minari._model.episode_buffer import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari._storages.arrow.limits import check_expansion
from minari.errors import ArgumentError, InterchangeError
from minari.interchange.damage import damage_as_error
from minari.interchange.flat_rows import FlatRows, blocks_of, map_rows
from minari.interchange.format import FinalObservation, Format, Report, Source
from minari.spaces import native
from minari.spaces.inference import infer_observation_space


__all__ = ["OGMARL"]

_METADATA = "metadata.json"
_MANIFEST = "manifest.ocdbt"
_REQUIRED = "observations", "actions", "rewards", "terminals"
_LARGEST_METADATA = 2**24
_MOST_FILES = 1_000_000
_MOST_AGENTS = 10_000
_CACHE = 2**26  # bytes of decoded chunks
_LARGEST_CHUNK = 2**28  # bytes

AfterDone = Literal["drop", "keep"]


class OGMARL(Format):
    """Format of flashbax vaults with the data of OG-MARL."""

    NAME = "og_marl"

    def sniff(self, path: Path) -> bool:
        """Return whether a directory is a vault, or contains a single one."""
        return path.is_dir() and len(_vaults(path)) == 1

    def read(
        self,
        path: Path,
        *,
        final_observation: FinalObservation = "error",
        after_done: AfterDone = "drop",
        agents: str | None = None,
    ) -> Source:
        """Return the episodes of a vault.

        Args:
            path: the directory with ``manifest.ocdbt``, such as ``3m.vlt/Good``, or one that contains a single one.
            final_observation: where the observation after the last step of an episode comes from.
            after_done: whether the rows of an agent after its end are left out, or kept.
            agents: names of the agents, separated by commas; by default ``"agent_0,agent_1,..."``.

        Raises:
            InterchangeError: it is damaged, or has other leaves.
        """
        found = _vaults(path)
        if len(found) != 1:
            expected = f"one of {', '.join(one.name for one in found)} in it" if found else "a vault of flashbax"
            raise InterchangeError(f"{path} has no {_MANIFEST} and {_METADATA}, expected {expected}; give its path.")
        with damage_as_error(found[0]):
            return _source(_Vault(found[0]), final_observation, after_done, agents)


def _vaults(path: Path) -> list[Path]:
    """Return the path itself if it is a vault, otherwise the vaults in it."""
    if (path / _MANIFEST).is_file() and (path / _METADATA).is_file():
        return [path]
    inner = sorted(path.iterdir()) if path.is_dir() else []
    return [one for one in inner if (one / _MANIFEST).is_file() and (one / _METADATA).is_file()]


class _Vault:
    """The leaves of a vault by their names, nested as in its metadata.

    Attributes:
        path: its directory.
        steps: the number of rows that are filled.
        leaves: the arrays.
        notes: further metadata.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = _checked_size(path)
        content = parse_json(read_regular(path / _METADATA, _LARGEST_METADATA))
        described = content.get("structure_shape") if isinstance(content, dict) else None
        if not isinstance(described, dict):
            raise InterchangeError(
                f"{path / _METADATA} describes no leaves (structure_shape), expected those of a vault."
            )
        self.notes = {
            key: value for key, value in content.items() if key not in ("structure_shape", "structure_dtype", "version")
        }
        self._context = tensorstore.Context({"cache_pool": {"total_bytes_limit": _CACHE}})
        index = self._opened("vault_index")
        if index.dtype.numpy_dtype.kind not in "iu" or math.prod(index.shape) != 1:
            raise InterchangeError(
                f"{path} has a vault_index of {index.dtype.name} and {index.shape}, expected a number."
            )
        self.steps = int(index.read().result().reshape(-1)[0])
        if self.steps < 1:
            raise InterchangeError(f"{path} has {self.steps} steps, expected at least one.")
        self.leaves = self._tree(described, "")

    def _tree(self, described: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        if prefix.count(".") > 16:
            raise InterchangeError(f"{self.path / _METADATA} is nested too deeply.")
        tree: dict[str, Any] = {}
        for key, value in described.items():
            if not key or "/" in key or "\0" in key or key in (".", ".."):
                raise InterchangeError(f"{self.path / _METADATA} names a leaf {shortened(key)}, expected a plain name.")
            name = f"{prefix}{key}."
            tree[key] = self._tree(value, name) if isinstance(value, Mapping) else self._leaf(name)
        return tree

    def _opened(self, name: str) -> Any:
        store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{self.path.resolve()}{os.sep}"}}
        spec = {"driver": "zarr", "kvstore": store, "path": name}
        array = tensorstore.open(spec, open=True, read=True, context=self._context).result()
        chunk = (
            math.prod(int(size or 1) for size in array.chunk_layout.read_chunk.shape or ())
            * array.dtype.numpy_dtype.itemsize
        )
        if chunk > _LARGEST_CHUNK or array.dtype.numpy_dtype.kind not in "biuf":
            raise InterchangeError(
                f"{self.path} has {name} of {array.dtype.name} in chunks of {chunk:,} bytes, "
                f"expected smaller chunks of numbers."
            )
        return array

    def _leaf(self, name: str) -> _Leaf:
        array = self._opened(name)
        if array.ndim < 2 or array.shape[0] != 1 or array.shape[1] < self.steps:
            raise InterchangeError(
                f"{self.path} has {name} of {array.shape}, expected the shape (1, {self.steps} or more, ...)."
            )
        check_expansion(self.steps * math.prod(array.shape[2:]) * array.dtype.numpy_dtype.itemsize, self._size)
        return _Leaf(array, self.steps)


def _checked_size(path: Path) -> int:
    """Return the bytes of all files of a directory, which must be regular.

    Raises:
        InterchangeError: there is a link or something else.
    """
    size = count = 0
    for directory, inner, names in os.walk(path):
        for name in [*inner, *names]:
            place = Path(directory) / name
            status = place.lstat() if leads_out(place) else place.stat()
            count += 1
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or count > _MOST_FILES:
                raise InterchangeError(f"{place} is a link or no regular file, expected the files of a vault.")
            size += status.st_size
    return size


class _Leaf:
    """An array of a vault, as :class:`~minari.interchange.flat_rows.Rows`."""

    def __init__(self, array: Any, steps: int) -> None:
        self._array = array
        self.shape: tuple[int, ...] = (steps, *array.shape[2:])
        self.dtype: np.dtype[Any] = array.dtype.numpy_dtype

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        values: npt.NDArray[Any] = self._array[0, start:stop].read().result()
        return native(np.array(values))


@dataclass(frozen=True, slots=True)
class _Conversion:
    """Parameters of the conversion of joint episodes to trajectories."""

    agents: list[str]
    infos: tuple[str, ...]
    after_done: AfterDone
    report: Report


def _source(vault: _Vault, final: FinalObservation, after_done: AfterDone, agents: str | None) -> Source:
    report, leaves = Report("og_marl", "import"), vault.leaves
    count = _check(vault)
    names = (
        [f"agent_{number}" for number in range(count)] if agents is None else [one.strip() for one in agents.split(",")]
    )
    if len(names) != count or len(set(names)) != count or not all(names):
        raise ArgumentError(f"agents is {shortened(agents)}, expected {count} different names separated by commas.")
    if agents is None:
        report.note("missing", "the names of the agents, which are agent_0, agent_1, ... (agents)")
    infos, of_agents, states = _infos(leaves.get("infos", {}), count)
    terminals = _flags(vault, "terminals", count)
    truncations = _flags(vault, "truncations", count) if "truncations" in leaves else np.zeros_like(terminals)
    ends = np.flatnonzero((terminals | truncations).all(axis=1)) + 1
    if not len(ends) or ends[-1] != vault.steps:
        ends = np.append(ends, vault.steps)
        report.note("assumed", "the last rows, after which not all agents are done, are an episode that is truncated")
    flags = {".terminals": terminals, ".truncations": truncations}
    rows = FlatRows(
        {"agents": leaves["observations"], **({"state": states} if states else {})},
        leaves["actions"],
        np.zeros(vault.steps),
        np.zeros(vault.steps, np.bool_),
        np.zeros(vault.steps, np.bool_),
        np.concatenate([[0], ends[:-1]]),
        ends,
        None,
        {**infos, ".rewards": leaves["rewards"], **flags},
    )
    rows.check_final_observation(final, vault.path)
    report.note("assumed", "the spaces, which a vault does not have, follow from dtypes, shapes and values")
    space = infer_observation_space(
        map_rows(lambda leaf: np.zeros((1, *leaf.shape[2:]), leaf.dtype), leaves["observations"])
    )
    actions = _action_space(leaves["actions"], infos.get("legals"))
    conversion = _Conversion(names, of_agents, after_done, report)
    episodes = _episodes(vault, rows, final, conversion)
    metadata = {"og_marl": vault.notes} if vault.notes else {}
    return Source(dict.fromkeys(names, space), dict.fromkeys(names, actions), episodes, report, len(ends), metadata)


def _check(vault: _Vault) -> int:
    """Return the number of agents.

    Raises:
        InterchangeError: a leaf is missing, or has another number of agents.
    """
    missing = [name for name in _REQUIRED if name not in vault.leaves]
    if missing:
        raise InterchangeError(
            f"{vault.path} has no {' and no '.join(missing)}, expected the leaves {', '.join(_REQUIRED)}; is it "
            f"another kind of vault?"
        )
    shapes: list[tuple[int, ...]] = []
    for name in (*_REQUIRED, *(["truncations"] if "truncations" in vault.leaves else [])):
        map_rows(lambda leaf: shapes.append(leaf.shape), vault.leaves[name])
    counts = {shape[1] if len(shape) > 1 else 0 for shape in shapes}
    if len(counts) != 1 or not 0 < (count := counts.pop()) <= _MOST_AGENTS:
        raise InterchangeError(
            f"{vault.path} has leaves of {shortened(shapes)}, expected the same number of agents on the second axis."
        )
    return count


def _flags(vault: _Vault, name: str, count: int) -> npt.NDArray[np.bool_]:
    leaf = vault.leaves[name]
    found: list[npt.NDArray[np.bool_]] = []
    is_right = isinstance(leaf, _Leaf) and leaf.shape == (vault.steps, count)
    for values in blocks_of(leaf) if is_right else ():
        is_right = is_right and bool(((values == 0) | (values == 1)).all())
        found.append(values.astype(np.bool_))
    if not is_right:
        raise InterchangeError(
            f"The {name} of {vault.path} are no flags, expected 0 or 1 for each of {count} agents a step."
        )
    return np.concatenate(found)


def _infos(infos: Any, count: int) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]:
    """Return infos by their names, which of them are those of agents, and the global state."""
    if not isinstance(infos, Mapping):
        raise InterchangeError("The infos of the vault are an array, expected arrays by names.")
    leaves = {name: leaf for name, leaf in infos.items() if isinstance(leaf, _Leaf)}
    of_agents = {
        name: leaf
        for name, leaf in leaves.items()
        if name != "state" and len(leaf.shape) > 1 and leaf.shape[1] == count
    }
    return of_agents, tuple(of_agents), {name: leaf for name, leaf in leaves.items() if name not in of_agents}


def _action_space(actions: Any, legals: Any) -> gym.Space[Any]:
    if isinstance(actions, Mapping):
        return gym.spaces.Dict({key: _action_space(part, None) for key, part in actions.items()})
    if actions.dtype.kind not in "iu" or len(actions.shape) != 2:
        space: gym.Space[Any] = infer_observation_space(np.zeros((1, *actions.shape[2:]), actions.dtype))
        return space
    lowest, highest = 0, 0 if legals is None else legals.shape[-1] - 1
    for part in blocks_of(actions):
        lowest, highest = min(lowest, int(part.min())), max(highest, int(part.max()))
    return gym.spaces.Discrete(highest - lowest + 1, start=lowest)


def _episodes(
    vault: _Vault, rows: FlatRows, final: FinalObservation, conversion: _Conversion
) -> Iterator[MultiAgentEpisodeBuffer]:
    with damage_as_error(vault.path):
        for joint in rows.episodes(final, conversion.report):
            yield _split(joint, conversion)


def _split(joint: EpisodeBuffer, conversion: _Conversion) -> MultiAgentEpisodeBuffer:
    """Return the trajectories of a joint episode."""
    steps = len(joint.rewards)
    trajectories = {
        name: _trajectory(joint, number, steps, conversion) for number, name in enumerate(conversion.agents)
    }
    states = joint.observations.get("state")
    state = states["state"] if states and set(states) == {"state"} else states
    return MultiAgentEpisodeBuffer(trajectories, total_steps=steps, state=state)


def _trajectory(joint: EpisodeBuffer, agent: int, steps: int, conversion: _Conversion) -> EpisodeBuffer:
    infos: Any = joint.infos
    terminations = infos[".terminals"][:steps, agent].copy()
    truncations = infos[".truncations"][:steps, agent] & ~terminations
    done = np.flatnonzero(terminations | truncations)
    length = steps
    if not len(done):
        truncations[-1] = True
    elif conversion.after_done == "drop":
        length = int(done[0]) + 1
        if length < steps:
            conversion.report.note("missing", "the rows of agents that are done before the others (after_done='drop')")
    elif done[0] < steps - 1:
        conversion.report.note("taken", "the rows of agents after their end, with the flags set (after_done='keep')")
    found: dict[str, Any] = {}
    for name in conversion.infos:
        found[name] = infos[name][: length + 1, agent]
        if f"_{name}" in infos and not infos[f"_{name}"][: length + 1].all():
            found[f"_{name}"] = infos[f"_{name}"][: length + 1]
    return EpisodeBuffer(
        observations=map_rows(lambda values: values[: length + 1, agent], joint.observations["agents"]),
        actions=map_rows(lambda values: values[:length, agent], joint.actions),
        rewards=infos[".rewards"][:length, agent],
        terminations=terminations[:length],
        truncations=truncations[:length],
        infos=found,
    )
