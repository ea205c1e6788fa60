"""Checks of the metadata of a dataset: types and plausibility of what people read, spaces, and environment specs."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeGuard
from urllib.parse import urlsplit

import gymnasium
import numpy as np

from minari._base.json_text import shortened
from minari._model.dataset_id import is_dataset_id
from minari._model.env_spec import is_requirement, parse_env_spec, requirement_problem
from minari._model.metadata import mistyped_keys
from minari._storages.paths import is_remote
from minari.dataset.validation.examined import Examined
from minari.dataset.validation.findings import Finding
from minari.errors import EnvironmentSpecError


__all__ = ["check_environment", "check_id", "check_metadata", "implausible"]

_MOST_KEYS = 200  # of the metadata, that are compared with known ones
_MOST_REQUIREMENTS = 200
_MOST_PACKAGES = 50  # of environments and their wrappers, that are looked for
_NOT_GIVEN: Final[tuple[Any, ...]] = ("", [])  # what writers store in place of None
_SCORES: Final = ("ref_min_score", "ref_max_score")


def check_metadata(examined: Examined) -> Iterator[Finding]:
    """Check the types and the plausibility of all keys that have a meaning, and look for mistyped ones."""
    metadata = examined.storage.current_metadata
    raw = metadata.raw
    for key in _EXPECTED:
        value = raw.get(key)
        message = None if value in _NOT_GIVEN else implausible(key, value)
        if message is not None:
            yield Finding("warning", "metadata", message, path=metadata.source)
    low, high = (raw.get(key) for key in _SCORES)
    if _is_number(low) and _is_number(high) and low >= high:
        message = (
            f"The ref_min_score is {shortened(low)} and the ref_max_score {shortened(high)}, expected a lower and a "
            f"higher one."
        )
        yield Finding("warning", "metadata", message, path=metadata.source)
    for key, meant in mistyped_keys(islice(raw, _MOST_KEYS)).items():
        message = f"The metadata key {shortened(key)} is unknown; did you mean {meant!r}?"
        yield Finding("warning", "metadata", message, path=metadata.source)
    if raw.get("inferred_spaces"):
        message = "The spaces are inferred from the data, as the release that wrote them stored none."
        yield Finding("note", "spaces", message, path=metadata.source)


def implausible(key: str, value: Any) -> str | None:
    """Return what is wrong with the value of a metadata key, as a sentence; None if nothing is, or it is unset.

    >>> implausible("ref_min_score", "high")
    "The metadata key 'ref_min_score' is 'high', expected a finite number."
    """
    is_right, expected = _EXPECTED.get(key, (None, ""))
    if is_right is None or value is None:
        return None
    plain = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
    plain = list(plain) if isinstance(plain, tuple) else plain
    return None if is_right(plain) else f"The metadata key {key!r} is {shortened(value)}, expected {expected}."


def _is_number(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return is_number and bool(abs(value) < math.inf)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: object, is_right: Callable[[str], bool] = _is_text) -> bool:
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, str) and is_right(item) for item in items)


def _is_email(text: str) -> bool:
    name, at, host = text.strip().rpartition("@")
    return bool(name and at and host)


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc)


def _are_requirements(value: Any) -> bool:
    is_list = isinstance(value, list) and len(value) <= _MOST_REQUIREMENTS
    return is_list and all(isinstance(item, str) and is_requirement(item) for item in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


#: What a key of the metadata must be, as a function and in words.
_EXPECTED: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "author": (_are_texts, "a name, or a list of names"),
    "author_email": (lambda value: _are_texts(value, _is_email), "an address such as ada@example.org, or a list"),
    "code_permalink": (_is_url, "an address such as https://github.com/…"),
    "algorithm_name": (_is_text, "a name"),
    "description": (_is_text, "a text"),
    "license": (_is_text, "the name of a license, such as CC-BY-4.0"),
    "requirements": (_are_requirements, "a list of requirements such as 'mujoco>=3.1'"),
    "combined_datasets": (lambda value: isinstance(value, list) and all(map(is_dataset_id, value)), "a list of ids"),
    **dict.fromkeys(_SCORES, (_is_number, "a finite number")),
    "num_episodes_average_score": (_is_count, "a number of episodes from 1"),
}


def check_id(examined: Examined) -> Iterator[Finding]:
    """Compare the id in the metadata with the place of the dataset, from which its id follows."""
    storage = examined.storage
    stored = storage.current_metadata.dataset_id
    if stored and not is_remote(storage.data_path) and stored != storage.dataset_id:
        message = (
            f"The metadata has the id {shortened(stored)}, and the dataset lies in the place of {storage.dataset_id}, "
            f"which is its id; it was moved or copied."
        )
        yield Finding("note", "id", message, path=storage.current_metadata.source)


def check_environment(examined: Examined) -> Iterator[Finding]:
    """Check whether the environment can probably be made here, without importing or making anything."""
    metadata = examined.storage.current_metadata
    for key, text in (("env_spec", metadata.env_spec_json), ("eval_env_spec", metadata.eval_env_spec_json)):
        if text is None:
            continue
        try:
            spec = parse_env_spec(text)
        except EnvironmentSpecError as error:
            yield Finding("warning", "metadata", f"The {key} cannot be used: {error}", path=metadata.source)
            continue
        entry_points = [spec.entry_point, *(wrapper.entry_point for wrapper in spec.additional_wrappers)]
        if spec.entry_point is None and spec.id not in gymnasium.registry:
            message = (
                f"The environment {shortened(spec.id)} of the {key} is not registered here, and the spec has no entry "
                f"point; import the package that registers it before recovering it."
            )
            yield Finding("note", "environment", message, path=metadata.source)
        packages = dict.fromkeys(_package(point) for point in entry_points if isinstance(point, str))
        for package in islice(packages, _MOST_PACKAGES):
            if not _is_installed(package):
                message = (
                    f"The environment {shortened(spec.id)} of the {key} needs the package {shortened(package)}, which "
                    f"is not installed here; the data can be read without it."
                )
                yield Finding("note", "environment", message, path=metadata.source)
    requirements = metadata.raw.get("requirements")
    for requirement in requirements[:_MOST_REQUIREMENTS] if isinstance(requirements, list) else ():
        if isinstance(requirement, str) and is_requirement(requirement):  # others are reported with the metadata
            problem = requirement_problem(requirement)
            if problem is not None:
                yield Finding("note", "environment", problem, path=metadata.source)


def _package(entry_point: str) -> str:
    """Return the name before the first dot of an entry point ``package.module:function``."""
    return entry_point.partition(":")[0].partition(".")[0]


def _is_installed(package: str) -> bool:
    """Return whether a package could be imported by its name, which has no dots: nothing is imported to find it."""
    if not package.isidentifier():
        return False
    try:
        return importlib.util.find_spec(package) is not None
    except (ValueError, ImportError):  # a module without a spec, such as __main__
        return False
