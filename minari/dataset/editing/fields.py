"""Dropping and renaming of fields: in spaces, in the columns of episodes, and in metadata that names them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium import spaces

from minari._base.json_text import shortened
from minari._base.suggestions import did_you_mean
from minari._model.infos import info_places, places_of_info, with_renamed_infos, without_info
from minari._model.infos.keys import info_name
from minari._model.multi_agent import AgentSpaces, MultiAgentCodec
from minari._storages.base import MinariStorage
from minari.errors import ArgumentError, EpisodeError
from minari.progress import track
from minari.spaces import AGENTS, FRAMES, STATE, Column, ColumnPath, Columns, is_utf8_text, path_name


__all__ = ["FieldEdit", "fields_to_edit"]

_OF_SPACES = ("observations", "actions")
_ALWAYS = (*_OF_SPACES, "rewards", "terminations", "truncations", "timesteps")
_INFOS = "infos"
_MOST_NAMES = 5_000  # of infos that are compared with a misspelled one


@dataclass
class _Trajectory:
    """The fields of an episode, or of one of its agents, and the changes to them.

    Attributes:
        prefix: of the paths of its columns: empty, or that of an agent.
        nodes: the spaces and the parts of them, by their paths without the prefix.
        dropped: the nodes to drop.
        keys: the new last keys of nodes.
        infos: the names of infos to drop; ``""`` for all of them.
        info_keys: the new last keys of infos, by their names.
    """

    prefix: ColumnPath
    nodes: dict[ColumnPath, spaces.Space[Any]]
    dropped: set[ColumnPath] = field(default_factory=set)
    keys: dict[ColumnPath, str] = field(default_factory=dict)
    infos: list[str] = field(default_factory=list)
    info_keys: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Return what precedes the names of fields: nothing, or the agent."""
        return "" if not self.prefix else f"{self.prefix[-1]}/"

    def named(self, name: str) -> list[ColumnPath]:
        """Return the nodes with a name, of which there are several only if keys contain slashes."""
        return [path for path in self.nodes if path_name(path) == name]

    def is_dropped(self, path: ColumnPath) -> bool:
        return any(path[:depth] in self.dropped for depth in range(1, len(path) + 1))

    def moved(self, path: ColumnPath) -> ColumnPath:
        """Return the path of a node or column afterwards."""
        return tuple(self.keys.get(path[: depth + 1], part) for depth, part in enumerate(path))

    def space(self, path: ColumnPath) -> spaces.Space[Any]:
        """Return the space of a node afterwards: the same one if nothing in it changes."""
        space = self.nodes[path]
        if not any(len(path) < len(at) and at[: len(path)] == path for at in (*self.dropped, *self.keys)):
            return space
        if isinstance(space, spaces.Dict):
            left = [key for key in space.spaces if (*path, key) not in self.dropped]
            pairs = ((self.keys.get((*path, key), key), self.space((*path, key))) for key in left)
            return spaces.Dict(OrderedDict(pairs))
        parts: Any = space
        return spaces.Tuple([self.space((*path, place)) for place in range(len(parts.spaces))])

    def edited(self, columns: Columns) -> dict[ColumnPath, Column]:
        """Return the columns of the trajectory, without the prefix, after the changes."""
        found: dict[ColumnPath, Column] = {}
        infos: dict[ColumnPath, Column] = {}
        for path, column in columns.items():
            depth = int(path[0] == FRAMES)  # frames are at the path of their stacks, after this part
            if path[0] == _INFOS:
                infos[path] = column
            elif not self.is_dropped(path[depth:]):
                new = (*path[:depth], *self.moved(path[depth:]))
                found[new] = column
        if "" in self.infos:
            infos = {}
        for name in self.infos:
            infos = without_info(infos, name)
        if self.info_keys:
            infos = with_renamed_infos(infos, self.info_keys)
        return {**found, **infos}


class FieldEdit:
    """The fields that are dropped and renamed.

    Args:
        storage: of the dataset.
        trajectories: the changes to the fields of each agent, or of the only one.
        state: the changes to the global state of many agents, as if it were an info.
    """

    def __init__(self, storage: MinariStorage, trajectories: list[_Trajectory], state: _Trajectory) -> None:
        self._storage, self._trajectories, self._state = storage, trajectories, state
        #: The episodes, by number, that have an info which is dropped or renamed.
        self.with_infos: dict[str, set[int]] = {}

    @property
    def changes_spaces(self) -> bool:
        """Return whether leaves of the spaces are dropped or renamed, so that every episode changes."""
        return any(each.dropped or each.keys for each in self._trajectories)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Return the names of the leaves that are dropped, and of infos as they were given."""
        return tuple(self._leaves(dropped=True))

    @property
    def renamed(self) -> dict[str, str]:
        """Return the new names of the leaves and infos that are renamed, by the old ones."""
        return self._leaves(dropped=False)

    def _leaves(self, dropped: bool) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in (*self._trajectories, self._state):
            for path in each.nodes:
                if isinstance(each.nodes[path], (spaces.Dict, spaces.Tuple)):
                    continue
                is_dropped, name = each.is_dropped(path), f"{each.label}{path_name(path)}"
                new = f"{each.label}{path_name(each.moved(path))}"
                if is_dropped == dropped and (is_dropped or new != name):
                    found[name] = new
            base = "" if each is self._state else f"{each.label}{_INFOS}/"
            for name in each.infos if dropped else ():
                found[f"{base}{name}".removesuffix("/")] = ""
            for name, key in {} if dropped else each.info_keys.items():
                found[f"{base}{name}"] = f"{base}{_renamed(name, key)}"
        return found

    def spaces(self) -> tuple[Any, Any]:
        """Return the observation space and the action space afterwards."""
        if not self.changes_spaces:
            return self._storage.observation_space, self._storage.action_space
        codec = self._storage.episode_codec
        if not isinstance(codec, MultiAgentCodec):
            observations, actions = (self._trajectories[0].space((name,)) for name in _OF_SPACES)
            return observations, actions
        pairs = list(zip(codec.agents, self._trajectories, strict=True))
        observations, actions = (
            AgentSpaces({agent: each.space((name,)) for agent, each in pairs}) for name in _OF_SPACES
        )
        return observations, actions

    def columns(self, columns: Columns) -> dict[ColumnPath, Column]:
        """Return the columns of an episode after the changes.

        Raises:
            EpisodeError: an info cannot be renamed.
        """
        if not self._storage.is_multi_agent:
            return self._trajectories[0].edited(columns)
        found: dict[ColumnPath, Column] = {}
        parts: dict[ColumnPath, dict[ColumnPath, Column]] = {}
        for path, column in columns.items():
            prefix, rest = ((), (_INFOS, *path)) if path[0] == STATE else (path[:2], path[2:])
            parts.setdefault(prefix, {})[rest] = column
        for each in self._trajectories:
            if each.prefix in parts:
                found |= {(*each.prefix, *path): column for path, column in each.edited(parts[each.prefix]).items()}
        return found | {path[1:]: column for path, column in self._state.edited(parts.get((), {})).items()}

    # Metadata that names fields

    def compression(self, choice: str | Mapping[str, str] | None) -> str | dict[str, str] | None:
        """Return the choice of codecs by the new names of the columns."""
        if not isinstance(choice, Mapping):
            return choice
        found: dict[str, str] = {}
        for name, codec in choice.items():
            for new in self._names_afterwards(name):
                found.setdefault(new, codec)
        return found or None

    def _names_afterwards(self, name: str) -> list[str]:
        """Return the names that stand for what a name in a choice of codecs stands for."""
        nodes: list[tuple[_Trajectory, ColumnPath, bool]] = []  # and whether it is named with the agent
        for each in self._trajectories:
            for path in each.nodes:
                if name == path_name((*each.prefix, *path)):
                    nodes.append((each, path, True))
                elif each.prefix and name == path_name(path):
                    nodes.append((each, path, False))
        if not nodes:
            return self._infos_afterwards(name)
        left = [(each, path, full) for each, path, full in nodes if not each.is_dropped(path)]
        if len({each.moved(path) for each, path, _ in left}) <= 1:  # the same for all agents
            return list(
                dict.fromkeys(
                    path_name((*each.prefix, *each.moved(path)) if full else each.moved(path))
                    for each, path, full in left
                )
            )
        return [path_name((*each.prefix, *each.moved(path))) for each, path, _ in left]

    def _infos_afterwards(self, name: str) -> list[str]:
        for each in self._trajectories:
            for base in {path_name((*each.prefix, _INFOS)), _INFOS}:
                if not name.startswith(f"{base}/"):
                    continue
                info = name[len(base) + 1 :]
                if any(f"{info}/".startswith(f"{doomed}/") for doomed in each.infos if doomed):
                    return []
                return [f"{base}/{_info_afterwards(info, each.info_keys)}"]
        return [name]

    def classes(self, classes: Any) -> dict[str, Any]:
        """Return the classes of spaces by the new names of the spaces."""
        if not isinstance(classes, Mapping):
            return {}
        names: dict[str, str | None] = {}
        for each in self._trajectories:
            for path in each.nodes:
                old, new = (path_name((at[0], *each.prefix[1:], *at[1:])) for at in (path, each.moved(path)))
                names[old] = None if each.is_dropped(path) else new
        pairs = ((names.get(name, name), value) for name, value in classes.items())
        return {name: value for name, value in pairs if name is not None}


def fields_to_edit(
    storage: MinariStorage, numbers: Iterable[int], drop: Iterable[str], rename: Mapping[str, str]
) -> FieldEdit:
    """Return the changes to fields that are given by names.

    Args:
        storage: of the dataset.
        numbers: the episodes whose infos count.
        drop: the names of the fields to drop.
        rename: the new names of fields.

    Raises:
        ArgumentError: there is no such field, or it cannot be dropped or renamed.
    """
    codec = storage.episode_codec
    if isinstance(codec, MultiAgentCodec):
        trajectories = [
            _Trajectory((AGENTS, name), _nodes(codec.of_agent(agent).spaces)) for agent, name in codec.names.items()
        ]
    else:
        trajectories = [_Trajectory((), _nodes(codec.spaces))]
    edit = FieldEdit(storage, trajectories, state := _Trajectory((), {}))
    resolver = _Resolver(storage, trajectories, state)
    for name in drop:
        resolver.drop(name)
    for name, new in rename.items():
        resolver.rename(name, new)
    for each in trajectories:
        _check(each)
    edit.with_infos = resolver.look_at_infos(numbers)
    return edit


def _nodes(pair: Iterable[spaces.Space[Any]]) -> dict[ColumnPath, spaces.Space[Any]]:
    found: dict[ColumnPath, spaces.Space[Any]] = {}

    def add(path: ColumnPath, space: spaces.Space[Any]) -> None:
        found[path] = space
        if isinstance(space, spaces.Dict):
            for key, part in space.spaces.items():
                add((*path, key), part)
        elif isinstance(space, spaces.Tuple):
            for place, part in enumerate(space.spaces):
                add((*path, place), part)

    for name, space in zip(_OF_SPACES, pair, strict=True):
        add((name,), space)
    return found


class _Resolver:
    """Finds what names of fields stand for, and notes the changes to it."""

    def __init__(self, storage: MinariStorage, trajectories: list[_Trajectory], state: _Trajectory) -> None:
        self._storage, self._trajectories, self._state = storage, trajectories, state
        #: The infos to look for: their names as they were given, where they may be, and their names there.
        self._infos: dict[str, list[tuple[_Trajectory, str]]] = {}

    def drop(self, name: str) -> None:
        """Note that a field is to be dropped."""
        meant, rest = self._of_agents(name)
        if rest == _INFOS or rest.startswith(f"{_INFOS}/") or self._is_state(rest):
            for each, info in self._note_info(name, rest, meant):
                each.infos.append(info)
            return
        for each, path in self._found(name, meant, rest, "dropped"):
            each.dropped.add(path)

    def rename(self, name: str, new: str) -> None:
        """Note that a field is to be renamed."""
        meant, rest = self._of_agents(name)
        parent, slash, _ = name.rpartition("/")
        key = new.removeprefix(f"{parent}/") if slash else new
        if (slash and key == new) or not key or "/" in key or not is_utf8_text(key):
            example = f"{parent}/new_name" if slash else "a field below observations, actions or infos"
            raise ArgumentError(
                f"The new name of {name} is {shortened(new)}, expected the whole name with another last part, such as "
                f"{example!r}."
            )
        if new == name:
            raise ArgumentError(f"The new name of {name} is the one that it has, expected another one.")
        if rest.startswith(f"{_INFOS}/") or (self._is_state(rest) and rest != STATE):
            for each, info in self._note_info(name, rest, meant):
                each.info_keys[info] = key
            return
        for each, path in self._found(name, meant, rest, "renamed"):
            each.keys[path] = key

    def _of_agents(self, name: str) -> tuple[list[_Trajectory], str]:
        """Return the trajectories that the name of a field may belong to, and the name without that of the agent."""
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"A field is {shortened(name)}, expected a name such as 'observations/camera'.")
        for each in self._trajectories:
            agent = each.label.removesuffix("/")
            if each.prefix and name == agent:
                raise ArgumentError(
                    f"{shortened(name)} is an agent, and not a field; a dataset of one agent is made with "
                    f"dataset.for_agent({shortened(name)}).save(ID)."
                )
            if each.prefix and name.startswith(each.label):
                return [each], name[len(each.label) :]
        return self._trajectories, name

    def _is_state(self, rest: str) -> bool:
        return self._storage.is_multi_agent and (rest == STATE or rest.startswith(f"{STATE}/"))

    def _note_info(self, name: str, rest: str, meant: list[_Trajectory]) -> list[tuple[_Trajectory, str]]:
        """Return where an info may be, and its name there; the global state is stored as the info ``state`` is."""
        is_state = self._is_state(rest)
        info = rest if is_state else rest.partition("/")[2]
        self._infos[name] = [(each, info) for each in ([self._state] if is_state else meant)]
        return self._infos[name]

    def _found(self, name: str, meant: list[_Trajectory], rest: str, what: str) -> list[tuple[_Trajectory, ColumnPath]]:
        """Return the nodes with a name, which can be dropped or renamed."""
        if rest in _ALWAYS or rest == _INFOS:
            hint = "give a part of it, such as 'observations/camera'" if rest in _OF_SPACES else "leave it out"
            raise ArgumentError(f"{name} cannot be {what}, since every episode has it; {hint}.")
        found = []
        for each in meant:
            paths = each.named(rest)
            if len(paths) > 1:
                raise ArgumentError(
                    f"{name} is the name of several fields, whose keys contain slashes; record it again."
                )
            found += [(each, path) for path in paths]
        if not found:
            raise self._unknown(name, meant, rest)
        for each, path in found:
            if not isinstance(each.nodes[path[:-1]], spaces.Dict):
                raise ArgumentError(
                    f"{name} cannot be {what}, since it is a part of a Tuple, whose parts have positions and no names; "
                    f"give a key of a Dict."
                )
        return found

    def _unknown(self, name: str, meant: list[_Trajectory], rest: str) -> ArgumentError:
        leaves = [self._leaf_above(each, rest) for each in meant]
        if leaves and leaves[0] is not None and None not in leaves:
            label, space = meant[0].label if len(meant) == 1 else "", meant[0].nodes[leaves[0]]
            return ArgumentError(
                f"{name} is not a field, since the parts of {label}{path_name(leaves[0])}, a {type(space).__name__}, "
                f"have no names; give a key of a Dict, or an info."
            )
        known = dict.fromkeys(path_name(path) for each in meant for path in each.nodes if len(path) > 1)
        keys = f"one of {shortened(list(known))}, or " if known else ""
        return ArgumentError(
            f"{self._storage.dataset_id} has no field {shortened(name)}, expected {keys}an info such as "
            f"'infos/success'.{did_you_mean(rest, known)}"
        )

    def _leaf_above(self, each: _Trajectory, rest: str) -> ColumnPath | None:
        """Return the leaf that a name goes on below, None if there is none."""
        leaves = (path for path, space in each.nodes.items() if not isinstance(space, (spaces.Dict, spaces.Tuple)))
        return next((path for path in leaves if rest.startswith(f"{path_name(path)}/")), None)

    def look_at_infos(self, numbers: Iterable[int]) -> dict[str, set[int]]:
        """Return the episodes that have each of the infos.

        Raises:
            ArgumentError: no episode has an info, or one has an info of the new name.
        """
        having: dict[str, set[int]] = {name: set() for name in self._infos}
        known: dict[str, None] = {}
        if not self._infos:
            return having
        outcomes: dict[frozenset[ColumnPath], set[str]] = {}  # by the columns of an episode, which many share
        listed = list(numbers)
        for number, paths in track(self._storage.column_paths(listed), "looking for infos", total=len(listed)):
            if paths not in outcomes:
                outcomes[paths] = self._names_in(number, paths)
                if len(known) < _MOST_NAMES:
                    known.update(dict.fromkeys(self._known_names(paths)))
            for name in outcomes[paths]:
                having[name].add(number)
        for name, episodes in having.items():
            if not episodes:
                expected = f"expected one of {shortened(list(known))}" if known else "since it has no infos"
                raise ArgumentError(
                    f"No episode of {self._storage.dataset_id} has {shortened(name)}, {expected}."
                    f"{did_you_mean(name, known)}"
                )
        return having

    def _names_in(self, number: int, paths: frozenset[ColumnPath]) -> set[str]:
        """Return the given names of the infos that an episode has, and check that they can be renamed there."""
        found = set()
        for name, where in self._infos.items():
            for each, info in where:
                own = self._info_paths(each, paths)
                if own and (not info or places_of_info(own, info)):
                    found.add(name)
        for each in (*self._trajectories, self._state):
            if each.info_keys:
                own = self._info_paths(each, paths)
                left: dict[ColumnPath, Any] = {path: None for path in own if not _is_below(path, each.infos)}
                try:
                    with_renamed_infos(left, each.info_keys)  # which looks at the paths alone
                except EpisodeError as error:
                    raise ArgumentError(f"The infos of episode {number} cannot be renamed: {error}") from error
        return found

    def _info_paths(self, each: _Trajectory, paths: Iterable[ColumnPath]) -> list[ColumnPath]:
        if each is self._state:
            return [(_INFOS, *path) for path in paths if path[0] == STATE]
        depth = len(each.prefix)
        return [path[depth:] for path in paths if path[:depth] == each.prefix and path[depth:][:1] == (_INFOS,)]

    def _known_names(self, paths: Iterable[ColumnPath]) -> Iterator[str]:
        for each in self._trajectories:
            for place in info_places(self._info_paths(each, paths)):
                yield f"{each.label}{_INFOS}/{info_name(place)}"
        yield from map(info_name, info_places(self._info_paths(self._state, paths)))


def _check(each: _Trajectory) -> None:
    """Raise unless the fields can be dropped and renamed together."""
    for path, key in each.keys.items():
        name = f"{each.label}{path_name(path)}"
        if each.is_dropped(path):
            raise ArgumentError(f"{name} is to be dropped and to be renamed, expected one of both.")
        if key == path[-1]:
            raise ArgumentError(f"The new name of {name} is the one that it has, expected another one.")
    left = [path for path in each.nodes if not each.is_dropped(path)]
    for path in left:
        space = each.nodes[path]
        is_emptied = isinstance(space, spaces.Dict) and space.spaces and not any(p[:-1] == path for p in left)
        if is_emptied:
            whole = "leave one of them" if len(path) == 1 else "drop it as a whole"
            raise ArgumentError(f"Nothing would be left of {each.label}{path_name(path)}, expected a part; {whole}.")
    counts = Counter(path_name(each.moved(path)) for path in left)
    before = Counter(map(path_name, each.nodes))
    for path in each.keys:
        new = path_name(each.moved(path))
        if counts[new] > 1 and before[path_name(path)] == 1:
            raise ArgumentError(
                f"{each.label}{path_name(path)} cannot be renamed to {each.label}{new}, since there is a field of that "
                f"name; choose another one, or drop or rename that."
            )


def _is_below(path: ColumnPath, names: Iterable[str]) -> bool:
    places = {info_name(place) for place in info_places([path])}
    return any(not name or name in places for name in names)


def _renamed(name: str, key: str) -> str:
    parent, slash, _ = name.rpartition("/")
    return f"{parent}{slash}{key}"


def _info_afterwards(info: str, keys: Mapping[str, str]) -> str:
    """Return the name of an info after it, and the dicts that it lies in, have other keys."""
    parts = info.split("/")
    return "/".join(keys.get("/".join(parts[: depth + 1]), part) for depth, part in enumerate(parts))
