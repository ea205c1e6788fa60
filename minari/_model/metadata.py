"""The metadata of a dataset, ``metadata.json``, as a typed value.

What older releases wrote is turned into today's form here and nowhere else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from gymnasium import spaces

from minari._base.suggestions import closest
from minari._base.warnings import warn
from minari._model.episode_codec import EpisodeCodec
from minari._model.format_version import FIRST_VERSION, UNIFORM_BOUNDS_VERSION
from minari._model.metadata_json import SPACES, TOTALS, check_metadata, damaged, parse_metadata, size_of, texts_of
from minari.errors import DatasetCorruptError, MetadataError, SpaceError, UnknownSpaceError
from minari.spaces.serialization import deserialize_space, has_uniform_bounds, serialize_space


__all__ = ["DatasetMetadata", "json_value", "upgrade_attributes", "warn_about_mistyped"]

Space: TypeAlias = spaces.Space[Any]

_NAME_SETS = ("author", "author_email")
#: The shape of the reward of one step, where it is not a number.
REWARD_SHAPE: Final = "reward_shape"

_SET_AT_FIRST = (*TOTALS, "compression")
_KNOWN_KEYS = frozenset(
    {
        *TOTALS, *SPACES, "algorithm_name", "assumptions", "author", "author_email", "code_permalink",
        "combined_datasets", "compression", "data_format", "dataset_id", "dataset_size", "description", "env_spec",
        "eval_env_spec", "final_observation", "inferred_spaces", "jpeg_encoding", "minari_version",
        "num_episodes_average_score", "ref_max_score", "ref_min_score", "requirements",
    }
)  # fmt: skip
_SET_ONCE = (*SPACES, "env_spec", "data_format", "jpeg_encoding", "dataset_id", "minari_version")


@dataclass(frozen=True, slots=True)
class DatasetMetadata:
    """What ``metadata.json`` says, checked when it is read.

    >>> metadata = DatasetMetadata.from_raw(
    ...     {
    ...         "total_episodes": 2,
    ...         "total_steps": 9,
    ...         "data_format": "hdf5",
    ...         "observation_space": '{"type": "Discrete", "dtype": "int64", "start": 0, "n": 4}',
    ...         "action_space": '{"type": "Discrete", "dtype": "int64", "start": 0, "n": 2}',
    ...     },
    ...     source="example-v0",
    ... )
    >>> metadata.action_space
    Discrete(2)
    >>> metadata.updated({"author": {"Ada"}}).public()["author"]
    {'Ada'}

    Attributes:
        source: the file that it was read from, for messages.
    """

    _raw: dict[str, Any]
    source: str
    _spaces: dict[str, Space] = field(default_factory=dict, init=False, repr=False, compare=False)
    _codecs: list[EpisodeCodec] = field(default_factory=list, init=False, repr=False, compare=False)  # one at most

    @classmethod
    def from_json(cls, text: str | bytes, source: object) -> DatasetMetadata:
        """Read the text of a metadata file.

        Args:
            text: the content of the file.
            source: its path, for messages.

        Raises:
            DatasetCorruptError: the text is no JSON object, or a key is missing or has a wrong value.
        """
        return cls(parse_metadata(text, source), str(source))

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any], source: object) -> DatasetMetadata:
        """Take the object that a metadata file holds, spaces and specs being JSON strings.

        Raises:
            DatasetCorruptError: a key is missing or has a wrong value.
        """
        return cls(check_metadata(copy.deepcopy(dict(raw)), source), str(source))

    @property
    def raw(self) -> dict[str, Any]:
        """The object that the file holds, as a copy; spaces and specs are JSON strings."""
        return copy.deepcopy(self._raw)

    def to_json(self) -> str:
        """The text of the file, its keys in the order in which they were set."""
        return json.dumps(self._raw)

    @property
    def total_episodes(self) -> int:
        """How many episodes the dataset holds."""
        return int(self._raw["total_episodes"])

    @property
    def total_steps(self) -> int:
        """How many steps all episodes have together."""
        return int(self._raw["total_steps"])

    @property
    def data_format(self) -> str:
        """The name of the storage format; the releases that did not write it knew only ``hdf5``."""
        return str(self._raw.get("data_format") or "hdf5")

    @property
    def jpeg_encoding(self) -> bool | None:
        """Whether frames are stored as JPEG; None for datasets from before 0.5.4, which do not say."""
        value = self._raw.get("jpeg_encoding")
        return None if value is None else bool(value)

    @property
    def size(self) -> float | None:
        """The size of the dataset in MB; None where nobody has measured it."""
        return size_of(self._raw)

    @property
    def has_spaces(self) -> bool:
        """Whether both spaces are described; the datasets of 0.3 leave them to the environment."""
        return all(key in self._raw for key in SPACES)

    @property
    def observation_space(self) -> Space:
        """The space of the observations.

        Raises:
            DatasetCorruptError: it is not described, or not in a way that makes a space.
            UnknownSpaceError: it is of a type that is not registered.
        """
        return self._space("observation_space")

    @property
    def action_space(self) -> Space:
        """The space of the actions; raises as :attr:`observation_space` does."""
        return self._space("action_space")

    @property
    def episode_codec(self) -> EpisodeCodec:
        """The codec of episodes with these spaces, made once; raises as :attr:`observation_space` does."""
        if not self._codecs:
            self._codecs.append(EpisodeCodec(self.observation_space, self.action_space))
        return self._codecs[0]

    def with_codec(self, codec: EpisodeCodec) -> DatasetMetadata:
        """The same metadata, for which somebody has made the codec of the episodes already."""
        return self._with_known(DatasetMetadata(self._raw, self.source), [codec])

    def _with_known(self, new: DatasetMetadata, codecs: Iterable[EpisodeCodec]) -> DatasetMetadata:
        """Other metadata, which need not decode again those spaces that are the same."""
        same = [key for key in SPACES if new._raw.get(key) == self._raw.get(key)]
        new._spaces.update((key, self._spaces[key]) for key in same if key in self._spaces)
        if len(same) == len(SPACES):
            new._codecs.extend(codecs)
        return new

    def _space(self, key: str) -> Space:
        if key not in self._spaces:
            if key not in self._raw:
                raise damaged(self.source, key, "the description of a space", self._raw)
            try:
                self._spaces[key] = deserialize_space(self._raw[key])
            except UnknownSpaceError:
                raise
            except SpaceError as error:
                raise DatasetCorruptError(f"The {key!r} in {self.source} is damaged: {error}") from error
        return self._spaces[key]

    @property
    def env_spec_json(self) -> str | None:
        """The spec of the environment that was recorded, as text; None without one."""
        return self._raw.get("env_spec")

    @property
    def eval_env_spec_json(self) -> str | None:
        """The spec of the environment that policies are evaluated in, as text; None without one."""
        return self._raw.get("eval_env_spec")

    @property
    def dataset_id(self) -> str | None:
        """The id under which the dataset was created."""
        return self._raw.get("dataset_id")

    @property
    def minari_version(self) -> str | None:
        """The format version, or a specifier of versions, that the dataset follows."""
        return self._raw.get("minari_version")

    @property
    def combined_datasets(self) -> list[str]:
        """The ids of the datasets that this one was combined from."""
        return list(self._raw.get("combined_datasets") or [])

    def public(self) -> dict[str, Any]:
        """The metadata for people: spaces as spaces, authors and their addresses as sets."""
        public = self.raw
        for key in SPACES:
            if key in public:
                public[key] = self._space(key)
        for key in _NAME_SETS:
            if public.get(key) is not None:
                public[key] = set(texts_of(public[key]))
        return public

    def with_size(self, data_bytes: int) -> DatasetMetadata:
        """The metadata with the size of the dataset, the metadata file included.

        Args:
            data_bytes: the size of all other files.
        """
        rest = data_bytes + len(json.dumps({**self._raw, "dataset_size": 0.0})) - len(repr(0.0))
        size = round(rest / 1e6, 1)
        size = round((rest + len(repr(size))) / 1e6, 1)
        return DatasetMetadata({**self._raw, "dataset_size": size}, self.source)

    def updated(self, changes: Mapping[str, Any], allow_protected: bool = False) -> DatasetMetadata:
        """The metadata with some keys set; those that are there keep their place.

        Args:
            changes: what to set. NumPy scalars and arrays become numbers and lists, tuples lists,
                sets sorted lists, spaces their description.
            allow_protected: whether the totals, and what is set once and for all, may change.

        Raises:
            MetadataError: a key is protected or not a string, or JSON cannot hold its value.
        """
        raw = self.raw
        for key, value in changes.items():
            if not isinstance(key, str):
                raise MetadataError(f"The keys of the metadata must be strings, got {key!r}.")
            is_protected = key in _SET_AT_FIRST or (key in _SET_ONCE and raw.get(key) is not None)
            if is_protected and not allow_protected:
                raise MetadataError(
                    f"The metadata key {key!r} is protected: it follows from the data, or was set when the "
                    "dataset was created, so you are not allowed to update it; leave it out of the update."
                )
            raw[key] = _stored_value(key, value)
        if "minari_version" in changes and any(has_uniform_bounds(raw[key]) for key in SPACES if key in raw):
            raw["minari_version"] = UNIFORM_BOUNDS_VERSION  # whoever sets it need not know how spaces are described
        return self._with_known(DatasetMetadata(check_metadata(raw, self.source), self.source), self._codecs)


def _stored_value(key: str, value: Any) -> Any:
    if key in SPACES and isinstance(value, spaces.Space):
        return serialize_space(value)
    if key in _NAME_SETS and isinstance(value, str):
        return [value]
    stored = json_value(value, key)
    if key in _NAME_SETS and not (stored is None or _is_list_of_strings(stored)):
        raise MetadataError(f"The metadata key {key!r} must be a string or a set of strings, got {value!r}.")
    return stored


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def warn_about_mistyped(
    changes: Mapping[str, Any], present: Iterable[str] = (), known: Iterable[str] = _KNOWN_KEYS
) -> None:
    """Point out the keys of metadata that look like one that this library knows and are none.

    Args:
        changes: the keys that are set.
        present: those that there are already.
        known: those that mean something.

    Warns:
        UserWarning: for each such key, which is kept all the same.
    """
    for key in changes:
        meant = None if key in known or key in present else closest(key, known, likeness=0.8)
        if meant is not None:
            warn(f"The metadata key {key!r} is none that this library knows, and is stored. Did you mean {meant!r}?")


def json_value(value: Any, key: str) -> Any:
    """What JSON holds for a value: NumPy scalars as numbers, arrays and tuples as lists, sets sorted.

    >>> json_value({"gain": np.float64(0.5), "axes": (0, 1)}, "controller")
    {'gain': 0.5, 'axes': [0, 1]}

    Args:
        value: what to convert.
        key: what it belongs to, for the message.

    Raises:
        MetadataError: the value, or something in it, is of a type that JSON cannot hold.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise MetadataError(f"The keys inside {key!r} must be strings to be stored, got {name!r}.")
        return {str(name): json_value(item, f"{key}/{name}") for name, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [json_value(item, key) for item in _in_order(value)]
    if isinstance(value, (list, tuple)):
        return [json_value(item, key) for item in value]
    raise MetadataError(
        f"The value of {key!r} holds a value of type {type(value).__name__}, which JSON cannot hold; "
        "use numbers, strings, lists and mappings with string keys."
    )


def _in_order(values: Iterable[Any]) -> list[Any]:
    """Sorted, so that equal sets give equal files."""
    try:
        return sorted(values)
    except TypeError:  # of several kinds
        return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


def upgrade_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the root attributes of an HDF5 file from 0.3 or 0.4 into what ``metadata.json`` holds today.

    >>> upgraded = upgrade_attributes({"total_episodes": "2", "total_steps": np.int64(9), "author": "Ada"})
    >>> upgraded["total_episodes"], upgraded["author"], upgraded["minari_version"]
    (2, ['Ada'], '~=0.3.0')

    Keys that are not known are kept. Where 0.3 wrote no spaces there are none in the result.

    Raises:
        MetadataError: a value is of a kind that an attribute of these releases never has.
    """
    raw: dict[str, Any] = {
        "total_episodes": None,
        "total_steps": None,
        "data_format": "hdf5",
        "minari_version": FIRST_VERSION,
    }
    for key, value in attributes.items():
        raw[key] = _upgraded(key, json_value(_decoded_text(value), key))
    return raw


_NUMBERS: dict[str, type[int] | type[float]] = {
    "total_episodes": int,
    "total_steps": int,
    "num_episodes_average_score": int,
    "dataset_size": float,
    "ref_min_score": float,
    "ref_max_score": float,
}


def _upgraded(key: str, value: Any) -> Any:
    if key in _NAME_SETS and isinstance(value, str):
        return [value]
    if key in _NUMBERS and value is not None:
        try:
            return _NUMBERS[key](value)
        except (TypeError, ValueError):
            # Left as it is; the check of the metadata names the file as well.
            return value
    return value


def _decoded_text(value: Any) -> Any:
    """HDF5 strings come as ``str`` or ``bytes``, alone or in arrays; an empty attribute has no shape."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, (np.ndarray, np.generic)):
        return _decoded_text(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_decoded_text(item) for item in value]
    return None if getattr(value, "shape", ()) is None else value
