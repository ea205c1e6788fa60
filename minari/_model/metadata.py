"""The metadata of a dataset, ``metadata.json``, as a typed value.

Metadata of older releases is converted to the current form here and nowhere else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from gymnasium import spaces

from minari._base.json_text import shortened
from minari._base.suggestions import closest, did_you_mean
from minari._base.warnings import warn
from minari._model.episode_codec import EpisodeCodec
from minari._model.format_version import (
    BYTE_FRAMES_VERSION,
    FIRST_VERSION,
    FRAME_STACK_VERSION,
    MULTI_AGENT_VERSION,
    UNIFORM_BOUNDS_VERSION,
)
from minari._model.frame_stack import DEDUPLICATE, KEEP, FrameStackChoice
from minari._model.metadata_json import SPACES, TOTALS, check_metadata, damaged, parse_metadata, size_of, texts_of
from minari._model.multi_agent import codec_for_spaces, spaces_by_agent
from minari._model.recorded_with import RECORDED_WITH, VERIFICATION
from minari.errors import DatasetCorruptError, EpisodeTypeError, MetadataError, SpaceError, UnknownSpaceError
from minari.spaces.serialization import deserialize_space, has_uniform_bounds, serialize_space


__all__ = ["DatasetMetadata", "json_value", "mistyped_keys", "upgrade_attributes", "warn_about_mistyped"]

Space: TypeAlias = spaces.Space[Any]

_NAME_SETS = ("author", "author_email")
#: The shape of the reward of one step, if it is not a number.
REWARD_SHAPE: Final = "reward_shape"

#: How stacks of frames are stored, and the number of episodes that have frames, by the names of the leaves.
FRAME_STACK: Final = "frame_stack"
DEDUPLICATED: Final = "deduplicated_stacks"

#: How the frames of a Parquet dataset are stored: one binary value each, or, if it is missing, lists of numbers.
FRAME_LAYOUT: Final = "frame_layout"
BYTES: Final = "bytes"

#: A random number that changes whenever episodes or fields are edited in place, so that readers notice.
REVISION: Final = "revision"

_SET_AT_FIRST = (*TOTALS, "compression", "multi_agent", FRAME_STACK, DEDUPLICATED, FRAME_LAYOUT, REVISION)
_KNOWN_KEYS = frozenset(
    {
        *TOTALS, *SPACES, "algorithm_name", "assumptions", "author", "author_email", "code_permalink",
        "combined_datasets", "compression", "data_format", "dataset_id", "dataset_size", "description", "env_spec",
        "eval_env_spec", "final_observation", "inferred_spaces", "jpeg_encoding", "license", "minari_version",
        "multi_agent", "num_episodes_average_score", "ref_max_score", "ref_min_score", "requirements", "split_from",
        FRAME_LAYOUT, FRAME_STACK, DEDUPLICATED, RECORDED_WITH, VERIFICATION, REVISION,
    }
)  # fmt: skip
_SET_ONCE = (*SPACES, "env_spec", "data_format", "jpeg_encoding", "dataset_id", "minari_version")
#: Keys that follow from the data as well, and are set by what writes it.
_MEASURED = (REWARD_SHAPE, "dataset_size", "space_classes", "inferred_spaces")


@dataclass(frozen=True, slots=True)
class DatasetMetadata:
    """The content of ``metadata.json``, checked when it is read.

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
        source: the file it was read from, for messages.
    """

    _raw: dict[str, Any]
    source: str
    _spaces: dict[str, Space] = field(default_factory=dict, init=False, repr=False, compare=False)
    _codecs: list[EpisodeCodec] = field(default_factory=list, init=False, repr=False, compare=False)  # one at most

    @classmethod
    def from_json(cls, text: str | bytes, source: object) -> DatasetMetadata:
        """Parse the text of a metadata file.

        Args:
            text: the content of the file.
            source: its path, for messages.

        Raises:
            DatasetCorruptError: the text is not a JSON object, or a key is missing or has an invalid value.
        """
        return cls(parse_metadata(text, source), str(source))

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any], source: object) -> DatasetMetadata:
        """Create metadata from the object of a metadata file, with spaces and specs as JSON strings.

        Raises:
            DatasetCorruptError: a key is missing or has an invalid value.
        """
        return cls(check_metadata(copy.deepcopy(dict(raw)), source), str(source))

    @property
    def raw(self) -> dict[str, Any]:
        """Return a copy of the object in the file; spaces and specs are JSON strings."""
        return copy.deepcopy(self._raw)

    def to_json(self) -> str:
        """Return the text of the file, with keys in the order in which they were set."""
        return json.dumps(self._raw)

    @property
    def total_episodes(self) -> int:
        """Return the number of episodes."""
        return int(self._raw["total_episodes"])

    @property
    def total_steps(self) -> int:
        """Return the total number of steps."""
        return int(self._raw["total_steps"])

    @property
    def data_format(self) -> str:
        """Return the name of the storage format; releases that did not store it only supported ``hdf5``."""
        return str(self._raw.get("data_format") or "hdf5")

    @property
    def jpeg_encoding(self) -> bool | None:
        """Return whether frames are stored as JPEG; None for datasets from before 0.5.4, which do not record it."""
        value = self._raw.get("jpeg_encoding")
        return None if value is None else bool(value)

    @property
    def has_byte_frames(self) -> bool:
        """Return whether each frame is stored as one binary value."""
        return self._raw.get(FRAME_LAYOUT) == BYTES

    @property
    def frame_stack(self) -> FrameStackChoice:
        """Return how stacks of frames are stored."""
        return DEDUPLICATE if self._raw.get(FRAME_STACK) == DEDUPLICATE else KEEP

    @property
    def deduplicated(self) -> Mapping[str, int]:
        """Return the number of episodes whose stacks are stored as frames, by the names of the leaves."""
        return dict(self._raw.get(DEDUPLICATED) or {})

    @property
    def is_multi_agent(self) -> bool:
        """Return whether episodes are of many agents, and the spaces are mappings by their ids."""
        return self._raw.get("multi_agent") is True

    @property
    def revision(self) -> str | None:
        """Return what changes whenever episodes or fields are edited in place; None if they never were."""
        found = self._raw.get(REVISION)
        return None if found is None else str(found)

    @property
    def size(self) -> float | None:
        """Return the size of the dataset in MB; None if it has not been measured."""
        return size_of(self._raw)

    @property
    def has_spaces(self) -> bool:
        """Return whether both spaces are described; datasets of 0.3 leave them to the environment."""
        return all(key in self._raw for key in SPACES)

    @property
    def observation_space(self) -> Space:
        """Return the space of the observations.

        Raises:
            DatasetCorruptError: the description is missing or invalid.
            UnknownSpaceError: its type is not registered.
        """
        return self._space("observation_space")

    @property
    def action_space(self) -> Space:
        """Return the space of the actions; raises like :attr:`observation_space`."""
        return self._space("action_space")

    @property
    def episode_codec(self) -> EpisodeCodec:
        """The codec of episodes with these spaces, created once; raises as :attr:`observation_space` does."""
        if not self._codecs:
            try:
                self._codecs.append(codec_for_spaces(self._space("observation_space"), self._space("action_space")))
            except UnknownSpaceError:
                raise
            except (SpaceError, EpisodeTypeError) as error:  # of many agents, whose spaces do not belong together
                raise DatasetCorruptError(f"The spaces in {self.source} are damaged: {error}") from error
        return self._codecs[0]

    def with_codec(self, codec: EpisodeCodec) -> DatasetMetadata:
        """Return the same metadata with a codec of its episodes that exists already."""
        return self._with_known(DatasetMetadata(self._raw, self.source), [codec])

    def with_spaces_kept(self, new: DatasetMetadata) -> DatasetMetadata:
        """Return other metadata with the spaces and the codec of this one where they are the same."""
        return self._with_known(new, self._codecs)

    def _with_known(self, new: DatasetMetadata, codecs: Iterable[EpisodeCodec]) -> DatasetMetadata:
        """Return other metadata with those decoded spaces and codecs that are the same."""
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
                space = deserialize_space(self._raw[key])
                self._spaces[key] = spaces_by_agent(space) if self.is_multi_agent else space
            except UnknownSpaceError:
                raise
            except SpaceError as error:
                raise DatasetCorruptError(f"The {key!r} in {self.source} is damaged: {error}") from error
        return self._spaces[key]

    @property
    def env_spec_json(self) -> str | None:
        """Return the spec of the recorded environment as text; None if there is none."""
        return self._raw.get("env_spec")

    @property
    def eval_env_spec_json(self) -> str | None:
        """Return the spec of the evaluation environment as text; None if there is none."""
        return self._raw.get("eval_env_spec")

    @property
    def dataset_id(self) -> str | None:
        """Return the id under which the dataset was created."""
        return self._raw.get("dataset_id")

    @property
    def minari_version(self) -> str | None:
        """Return the format version of the dataset, or a specifier of versions."""
        return self._raw.get("minari_version")

    @property
    def combined_datasets(self) -> list[str]:
        """Return the ids of the source datasets of a combination."""
        return list(self._raw.get("combined_datasets") or [])

    def public(self) -> dict[str, Any]:
        """Return the metadata for users: spaces as objects, authors and their addresses as sets."""
        public = self.raw
        for key in SPACES:
            if key in public:
                public[key] = self._space(key)
        for key in _NAME_SETS:
            if public.get(key) is not None:
                public[key] = set(texts_of(public[key]))
        return public

    def with_size(self, data_bytes: int) -> DatasetMetadata:
        """Return the metadata with the size of the dataset, including the metadata file.

        Args:
            data_bytes: the size of all other files.
        """
        rest = data_bytes + len(json.dumps({**self._raw, "dataset_size": 0.0})) - len(repr(0.0))
        size = round(rest / 1e6, 1)
        size = round((rest + len(repr(size))) / 1e6, 1)
        return DatasetMetadata({**self._raw, "dataset_size": size}, self.source)

    def edited(self, changes: Mapping[str, Any], removed: Iterable[str] = ()) -> DatasetMetadata:
        """Return the metadata as a user wants it: with some keys set, and without others.

        Args:
            changes: the keys to set, as for :meth:`updated`.
            removed: the keys to remove.

        Raises:
            MetadataError: a key is protected or follows from the data, or one to remove does not exist; or JSON cannot
                represent a value.
        """
        doomed = list(dict.fromkeys(removed))
        for key in (*changes, *doomed):
            is_missing = key in doomed and key not in self._raw
            if key in _MEASURED or (not is_missing and self._is_protected(key)):
                raise _protected(key)
            if is_missing:
                own = [name for name in self._raw if name not in _MEASURED and not self._is_protected(name)]
                raise MetadataError(
                    f"The metadata has no key {shortened(key)} to remove, expected one of {shortened(own)}."
                    f"{did_you_mean(key, own)}"
                )
        raw = self.updated(changes)._raw
        left = {key: value for key, value in raw.items() if key not in doomed}
        return self._with_known(DatasetMetadata(left, self.source), self._codecs)

    def _is_protected(self, key: str) -> bool:
        return key in _SET_AT_FIRST or (key in _SET_ONCE and self._raw.get(key) is not None)

    def updated(self, changes: Mapping[str, Any], allow_protected: bool = False) -> DatasetMetadata:
        """Return the metadata with some keys set; existing keys keep their position.

        Args:
            changes: the keys to set. NumPy scalars and arrays become numbers and lists, tuples lists, sets
                sorted lists, spaces their description.
            allow_protected: True to allow changes of totals and of keys that are set only once.

        Raises:
            MetadataError: a key is protected or not a string, or JSON cannot represent its value.
        """
        raw = self.raw
        for key, value in changes.items():
            if not isinstance(key, str):
                raise MetadataError(f"The keys of the metadata must be strings, got {key!r}.")
            if self._is_protected(key) and not allow_protected:
                raise _protected(key)
            raw[key] = _stored_value(key, value)
        if "minari_version" in changes and any(has_uniform_bounds(raw[key]) for key in SPACES if key in raw):
            raw["minari_version"] = UNIFORM_BOUNDS_VERSION  # callers need not know how spaces are described
        if "minari_version" in changes and self.is_multi_agent:
            raw["minari_version"] = MULTI_AGENT_VERSION
        if "minari_version" in changes and raw.get(FRAME_STACK) == DEDUPLICATE:
            raw["minari_version"] = FRAME_STACK_VERSION
        if "minari_version" in changes and raw.get(FRAME_LAYOUT) == BYTES:
            raw["minari_version"] = BYTE_FRAMES_VERSION
        return self._with_known(DatasetMetadata(check_metadata(raw, self.source), self.source), self._codecs)


def _protected(key: str) -> MetadataError:
    return MetadataError(
        f"The metadata key {key!r} is protected: it follows from the data, or was set when the "
        "dataset was created, so you are not allowed to update it; leave it out of the update."
    )


def _stored_value(key: str, value: Any) -> Any:
    if key in SPACES and isinstance(value, spaces.Space):
        return serialize_space(value)
    if key in (*_NAME_SETS, "requirements") and isinstance(value, str):
        return [value]
    stored = json_value(value, key)
    is_list = isinstance(stored, list) and all(isinstance(item, str) for item in stored)
    if key in _NAME_SETS and not (stored is None or is_list):
        raise MetadataError(f"The metadata key {key!r} must be a string or a set of strings, got {shortened(value)}.")
    return stored


def warn_about_mistyped(
    changes: Mapping[str, Any], present: Iterable[str] = (), known: Iterable[str] = _KNOWN_KEYS
) -> None:
    """Warn about unknown keys of metadata that resemble known ones.

    Args:
        changes: the keys to set.
        present: the existing keys.
        known: the keys with a meaning.

    Warns:
        UserWarning: for each such key, which is stored anyway.
    """
    for key, meant in mistyped_keys([key for key in changes if key not in set(present)], known).items():
        warn(f"The metadata key {key!r} is none that this library knows, and is stored. Did you mean {meant!r}?")


def mistyped_keys(keys: Iterable[str], known: Iterable[str] = _KNOWN_KEYS) -> dict[str, str]:
    """Return the unknown keys of metadata that resemble known ones, with these.

    >>> mistyped_keys(["autor", "author", "robot"])
    {'autor': 'author'}
    """
    names = frozenset(known)
    found = {key: closest(key, names, likeness=0.8) for key in keys if key not in names}
    return {key: meant for key, meant in found.items() if meant is not None}


def json_value(value: Any, key: str) -> Any:
    """Return a value as JSON: NumPy scalars as numbers, arrays and tuples as lists, sets sorted.

    >>> json_value({"gain": np.float64(0.5), "axes": (0, 1)}, "controller")
    {'gain': 0.5, 'axes': [0, 1]}

    Args:
        value: the value to convert.
        key: its key, for the message.

    Raises:
        MetadataError: the value contains a type that JSON cannot represent.
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
        try:
            ordered = sorted(value)  # so that equal sets give equal files
        except TypeError:  # of several types
            ordered = sorted(value, key=lambda item: (type(item).__name__, repr(item)))
        return [json_value(item, key) for item in ordered]
    if isinstance(value, (list, tuple)):
        return [json_value(item, key) for item in value]
    raise MetadataError(
        f"The value of {key!r} holds a value of type {type(value).__name__}, which JSON cannot hold; "
        "use numbers, strings, lists and mappings with string keys."
    )


def upgrade_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the root attributes of an HDF5 file from 0.3 or 0.4 to the current ``metadata.json``.

    >>> upgraded = upgrade_attributes({"total_episodes": "2", "total_steps": np.int64(9), "author": "Ada"})
    >>> upgraded["total_episodes"], upgraded["author"], upgraded["minari_version"]
    (2, ['Ada'], '~=0.3.0')

    Unknown keys are kept. If 0.3 wrote no spaces, the result has none.

    Raises:
        MetadataError: an attribute has a type that these releases never write.
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
            # Unchanged; the check of the metadata also names the file.
            return value
    return value


def _decoded_text(value: Any) -> Any:
    """Decode HDF5 strings, which are ``str`` or ``bytes``, single or in arrays; an empty attribute has no shape."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, (np.ndarray, np.generic)):
        return _decoded_text(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_decoded_text(item) for item in value]
    return None if getattr(value, "shape", ()) is None else value
