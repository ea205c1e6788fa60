"""Directories of TensorFlow Datasets: ``dataset_info.json``, ``features.json``, and the files of each split."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from minari._base.files import METADATA_LIMIT, Directory, relative_parts
from minari._base.json_text import parse_json, shortened
from minari.errors import InterchangeError, UnsafePathError
from minari.interchange.rlds.array_records import read_array_records
from minari.interchange.rlds.features import FeatureTree, leaves_of, parse_features
from minari.interchange.tfrecord import damaged, read_records


__all__ = ["FEATURES", "INFO", "TEMPLATE", "Shard", "TfdsDirectory", "find_directories", "shard_name"]

FEATURES: Final = "features.json"
INFO: Final = "dataset_info.json"
TEMPLATE: Final = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"

_READERS: Final = {"tfrecord": read_records, "array_record": read_array_records}
_FIELD = re.compile(r"\{(\w+)\}")
_MOST_LEVELS = 3  # of directories above the one with the features
_MOST_DIRECTORIES = 1000  # that are looked at on a level
_MOST_SHARDS = 100_000
_LARGEST_LABELS = 2**20  # bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of a split.

    Attributes:
        path: of the file.
        count: the number of its records.
    """

    path: Path
    count: int


def find_directories(path: Path) -> list[Path]:
    """Return the directories with ``features.json``: a path itself, or the nearest ones below it, of some levels."""
    level = [path]
    for _ in range(_MOST_LEVELS):
        if found := [one for one in level if (one / FEATURES).is_file() and (one / INFO).is_file()]:
            return found
        level = [inner for one in level for inner in _directories(one)][:_MOST_DIRECTORIES]
    return []


def _directories(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    with os.scandir(path) as entries:
        found = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return [path / name for name in found if not name.startswith(".")]


class TfdsDirectory:
    """A data set of one version.

    Args:
        path: the directory with ``features.json``.

    Attributes:
        path: the directory.
        info: the content of ``dataset_info.json``.
        features: the features.
        splits: the files of each split.

    Raises:
        InterchangeError: a file is missing, or says something that cannot be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = self._json(INFO)
        described = self._json(FEATURES)
        try:
            self.features: FeatureTree = parse_features(described)
        except ValueError as error:
            raise damaged(path / FEATURES, error) from error
        self.file_format = str(self.info.get("fileFormat") or "tfrecord")
        if self.file_format not in _READERS:
            raise InterchangeError(
                f"{path} has files of the format {shortened(self.file_format)}, expected tfrecord or array_record; "
                f"write it again with tfds convert_format."
            )
        try:
            self.splits = {name: self._shards(name, split) for name, split in self._split_infos()}
        except (ValueError, TypeError, LookupError, UnsafePathError) as error:
            raise damaged(path / INFO, error) from error
        self._check_files()

    def records(self, shard: Shard) -> Iterator[bytes]:
        """Yield the records of a file.

        Raises:
            InterchangeError: the file is damaged, or has another number of records.
        """
        found = 0
        for record in _READERS[self.file_format](shard.path):
            found += 1
            if found <= shard.count:
                yield record
        if found != shard.count:
            raise damaged(shard.path, f"it has {found} records, and {INFO} says {shard.count}")

    def labels(self) -> dict[str, list[str]]:
        """Return the names of the classes of features, by the names of these; empty where there are none."""
        found = {}
        with Directory(self.path) as directory:
            for leaf in leaves_of(self.features):
                name = f"{leaf.name.replace('/', '-')}.labels.txt"
                if leaf.low == 0 and directory.kind(name) is not None:
                    found[leaf.name] = directory.read(name, _LARGEST_LABELS).decode("utf-8", "replace").splitlines()
        return found

    def _json(self, name: str) -> dict[str, Any]:
        try:
            with Directory(self.path) as directory:
                content = parse_json(directory.read(name, METADATA_LIMIT))
        except (ValueError, OSError) as error:
            raise damaged(self.path / name, error) from error
        if not isinstance(content, dict):
            raise damaged(self.path / name, "it is no JSON object")
        return content

    def _split_infos(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        splits = self.info.get("splits", [])
        if not isinstance(splits, list):
            raise ValueError(f"its splits are {shortened(splits)}")
        for split in splits:
            if not isinstance(split, dict) or not isinstance(split.get("name"), str):
                raise ValueError(f"it has the split {shortened(split)}")
            yield split["name"], split

    def _shards(self, split: str, info: Mapping[str, Any]) -> list[Shard]:
        counts = [int(count) for count in info.get("shardLengths", [])]
        if len(counts) > _MOST_SHARDS or min(counts, default=0) < 0:
            raise ValueError(f"the split {shortened(split)} has {len(counts)} files")
        template = str(info.get("filepathTemplate") or TEMPLATE)
        names = [
            shard_name(str(self.info.get("name")), split, number, len(counts), template, self.file_format)
            for number in range(len(counts))
        ]
        return [
            Shard(self.path.joinpath(*relative_parts(name)), count) for name, count in zip(names, counts, strict=True)
        ]

    def _check_files(self) -> None:
        for name, shards in self.splits.items():
            missing = [shard.path.name for shard in shards if not shard.path.is_file()]
            if missing:
                raise InterchangeError(
                    f"{self.path} lacks {len(missing)} of the {len(shards)} files of the split {name!r}, such as "
                    f"{shortened(missing[0])}; copy or download the missing ones."
                )


def shard_name(
    dataset: str, split: str, number: int, total: int, template: str = TEMPLATE, kind: str = "tfrecord"
) -> str:
    """Return the name of a file of a split.

    >>> shard_name("bridge", "train", 1, 12)
    'bridge-train.tfrecord-00001-of-00012'

    Args:
        dataset: name of the data set.
        split: name of the split.
        number: of the file.
        total: the number of files.
        template: the name, with fields in braces.
        kind: the file format.

    Raises:
        LookupError: there is no such field.
    """
    digits = max(5, len(str(total)))
    fields = {"DATASET": dataset, "SPLIT": split, "FILEFORMAT": kind}
    fields |= {"SHARD_INDEX": f"{number:0{digits}}", "NUM_SHARDS": f"{total:0{digits}}"}
    fields["SHARD_X_OF_Y"] = f"{fields['SHARD_INDEX']}-of-{fields['NUM_SHARDS']}"
    return _FIELD.sub(lambda match: fields[match[1]], template)
