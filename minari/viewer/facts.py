"""The list of datasets, and the facts of one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from minari._base.settings import get_datasets_root
from minari._catalog.listing import read_catalog
from minari._catalog.rows import dataset_row
from minari._model.env_spec import parse_env_spec
from minari._model.metadata import DatasetMetadata
from minari._model.multi_agent import agent_name
from minari._model.recorded_with import version_of_package
from minari._storages.core import read_metadata
from minari._storages.metadata_file import read_raw_metadata, stamp_of, with_measured_size
from minari.dataset.description import Fact, agents_of, dataset_facts, env_facts, env_id_of
from minari.dataset.validation import find_data_path
from minari.errors import MinariError
from minari.inspection.episode import EpisodeLeaf, space_leaves
from minari.viewer.answers import LONGEST_TEXT, cut, error_of, plain
from minari.viewer.opened import Opened, Places, revision_of


__all__ = ["catalog", "closed_dataset", "leaf_as_json", "opened_dataset", "texts_of_facts"]

_LONGEST_DESCRIPTION: Final = 20_000  # characters
_LONGEST_LINE: Final = 300  # of a description in a list
_SAFE_LINKS: Final = ("https://", "http://")


def catalog(places: Places, read_only: bool) -> dict[str, Any]:
    """Return the datasets of the catalog, and those that were given by their paths first."""
    listed = [_listed(name, _read(path)) for name, path in places.paths.items()]
    listed += [_listed(dataset_id, metadata) for dataset_id, metadata in read_catalog(root=places.root)]
    return {
        "root": str(get_datasets_root(places.root)),
        "read_only": read_only,
        "version": version_of_package("minari"),
        "datasets": listed,
    }


def _read(data_path: Path) -> Mapping[str, Any] | Exception:
    try:
        return with_measured_size(read_raw_metadata(data_path), data_path)
    except (MinariError, OSError) as error:
        return error


def _listed(name: str, metadata: Mapping[str, Any] | Exception) -> dict[str, Any]:
    problem = error_of(metadata)[1]["error"] if isinstance(metadata, Exception) else None
    described: Mapping[str, Any] = {} if isinstance(metadata, Exception) else metadata
    row, agents, description = dataset_row(name, described), agents_of(described), described.get("description")
    env = env_id_of(described.get("env_spec"))
    return {
        "id": name,
        "episodes": plain(row.episodes),
        "steps": plain(row.steps),
        "size": plain(row.size),
        "authors": plain(list(row.authors)),
        "format": None if problem else cut(str(described.get("data_format") or "hdf5"), _LONGEST_LINE),
        "description": None if not description else cut(str(description), _LONGEST_LINE),
        "env": None if env is None else cut(env, _LONGEST_LINE),
        "agents": None if agents is None else len(agents),
        "problem": problem,
    }


def opened_dataset(opened: Opened, read_only: bool) -> dict[str, Any]:
    """Return the facts of a dataset that is open."""
    storage = opened.dataset.storage
    metadata = storage.current_metadata
    described = {**metadata.raw, **{key: getattr(storage, key) for key in ("observation_space", "action_space")}}
    problem = None
    try:
        leaves = [leaf_as_json(leaf) for leaf in space_leaves(storage)]
        agents = [agent_name(agent) for agent in opened.dataset.agents]
    except (MinariError, OSError) as error:
        leaves, agents, problem = [], [], error_of(error)[1]["error"]
    facts = _facts(opened.name, metadata, described, read_only)
    return {**facts, "revision": opened.revision, "agents": agents, "leaves": leaves, "problem": problem}


def closed_dataset(places: Places, name: str, error: Exception, read_only: bool) -> dict[str, Any]:
    """Return the facts of a dataset whose episodes cannot be read, with the reason.

    Raises:
        MinariError: its metadata cannot be read either.
    """
    data_path = places.paths.get(name) or find_data_path(name, places.root)
    metadata = read_metadata(data_path)
    return {
        **_facts(name, metadata, metadata.raw, read_only),
        "revision": revision_of(stamp_of(data_path)),
        "agents": plain([str(agent) for agent in agents_of(metadata.raw) or []]),
        "leaves": [],
        "problem": error_of(error)[1]["error"],
    }


def _facts(name: str, metadata: DatasetMetadata, described: Mapping[str, Any], read_only: bool) -> dict[str, Any]:
    description = described.get("description")
    return {
        "id": name,
        "read_only": read_only,
        "episodes": plain(metadata.total_episodes),
        "steps": plain(metadata.total_steps),
        "description": None if not description else cut(str(description), _LONGEST_DESCRIPTION),
        "facts": _as_json(dataset_facts({**described, "dataset_id": name})),
        "env_facts": _as_json(_env_facts(metadata)),
    }


def _env_facts(metadata: DatasetMetadata) -> list[Fact]:
    if metadata.env_spec_json is None:
        return []
    try:
        return env_facts(parse_env_spec(metadata.env_spec_json))
    except MinariError as error:
        return [Fact("problem", "Problem", str(error))]


def texts_of_facts(opened: Opened) -> dict[str, tuple[str, str]]:
    """Return the titles and texts of the facts of a dataset, by their keys."""
    storage = opened.dataset.storage
    metadata: dict[str, Any] = {**storage.current_metadata.raw}
    metadata |= {key: getattr(storage, key) for key in ("observation_space", "action_space")}
    return {fact.key: (fact.title, _text(fact)) for fact in dataset_facts(metadata)}


def _as_json(facts: Iterable[Fact]) -> list[dict[str, str]]:
    return [
        {"key": fact.key, "title": fact.title, "text": text, "form": _form(fact, text)}
        for fact, text in ((fact, _text(fact)) for fact in facts)
    ]


def _text(fact: Fact) -> str:
    try:
        return cut(fact.text)
    except MinariError as error:  # of a space whose description is damaged
        return cut(f"damaged: {error}")


def _form(fact: Fact, text: str) -> str:
    """Return the form of a fact: only the addresses of web pages are links, whatever the data says."""
    is_link = fact.form == "link" and text.startswith(_SAFE_LINKS)
    return "text" if fact.value is None or (fact.form == "link" and not is_link) else fact.form


def leaf_as_json(leaf: EpisodeLeaf) -> dict[str, Any]:
    """Return the name and type of a leaf."""
    return {
        "name": cut(leaf.name, LONGEST_TEXT),
        "kind": leaf.kind,
        "dtype": leaf.dtype,
        "shape": plain(list(leaf.shape)),
        "agent": leaf.agent,
    }
