"""Profiles: standards for the use of a dataset, beyond what makes it sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from minari._base.json_text import shortened
from minari._model.dataset_id import DatasetId, is_dataset_id
from minari.dataset.validation.examined import DatasetCheck, Examined
from minari.dataset.validation.findings import Finding
from minari.errors import ArgumentError


__all__ = ["HUB", "PROFILES", "Profile", "find_profile", "missing_metadata"]

HUB: Final = "hub"
#: Keys that a shared dataset should have, and why.
_WANTED: Final = {
    "author": "whom to cite",
    "author_email": "whom to ask",
    "algorithm_name": "what chose the actions",
    "code_permalink": "the code that made it",
    "description": "what it is for",
    "license": "how others may use it",
    "env_spec": "the environment that it is of",
    "requirements": "the packages that the environment needs",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A standard that a dataset should meet.

    Attributes:
        refused: the kinds of warnings that are errors by this standard.
        checks: further checks.
    """

    refused: frozenset[str]
    checks: tuple[DatasetCheck, ...]


def missing_metadata(raw: Mapping[str, Any]) -> list[str]:
    """Return the keys of the metadata that a shared dataset should have, and this one does not.

    Args:
        raw: the metadata as it is stored.
    """
    is_multi_agent = raw.get("multi_agent") is True
    return [key for key in _WANTED if not raw.get(key) and not (key == "env_spec" and is_multi_agent)]


def _check_missing(examined: Examined) -> Iterator[Finding]:
    metadata = examined.storage.current_metadata
    for key in missing_metadata(metadata.raw):
        message = f"The metadata has no {key} ({_WANTED[key]}); set it before sharing the dataset."
        yield Finding("warning", "missing", message, path=metadata.source)


def _check_namespace(examined: Examined) -> Iterator[Finding]:
    dataset_id = examined.storage.dataset_id
    if not is_dataset_id(dataset_id) or not DatasetId.parse(dataset_id).namespace:
        message = (
            f"The id {shortened(dataset_id)} has no namespace, expected one such as cartpole/{dataset_id}; give it one "
            f"with `minari rename`."
        )
        yield Finding("warning", "id", message)


PROFILES: Final[Mapping[str, Profile]] = {
    HUB: Profile(frozenset({"not finite", "flags", "no end"}), (_check_missing, _check_namespace)),
}


def find_profile(name: str | None) -> Profile:
    """Return the profile with a name; for None one without further demands.

    Raises:
        ArgumentError: there is no such profile.
    """
    if name is None:
        return Profile(frozenset(), ())
    if not isinstance(name, str) or name not in PROFILES:
        known = ", ".join(map(repr, PROFILES))
        raise ArgumentError(f"profile is {shortened(name)}, expected {known} or None.")
    return PROFILES[name]
