"""Dataset cards: the ``README.md`` with which the Hub describes a dataset.

A card is Markdown after a front matter in YAML, from which the Hub takes tags, license and size. All of it is
created from the metadata of datasets, which may contain any text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCardData

from minari.dataset.description import Fact, agents_of, dataset_facts
from minari.storage.remotes.hub.card_spaces import rows_of_agents, space_rows
from minari.storage.remotes.hub.card_text import (
    as_markdown,
    as_quotation,
    link_or_text,
    markdown_table,
    number,
    one_line,
    readable_size,
)


__all__ = ["CARD_MARKER", "dataset_card", "repository_card"]

#: Marker of the cards of this library, which may be rewritten.
CARD_MARKER = "<!-- minari-card: written at every upload. To keep a text of your own, take this line out. -->"

Metadata = Mapping[str, Any]

_TAGS = ("minari", "reinforcement-learning", "offline-rl")
_MOST_STEPS = 10**18
_HUB = "https://huggingface.co"
#: Facts that a card shows elsewhere, or omits because it is public, such as email addresses.
_NOT_IN_TABLE = frozenset({"observation_space", "action_space", "author_email"})
_FIRST = ("env_spec", "eval_env_spec")
_TITLES = {
    "total_episodes": "Episodes",
    "total_steps": "Steps",
    "code_permalink": "Code",
    "minari_version": "Format version",
}
#: Columns in the table of a repository.
_COLUMNS = {
    "total_episodes": "Episodes",
    "total_steps": "Steps",
    "env_spec": "Environment",
    "algorithm_name": "Algorithm",
    "author": "Author",
}
# Names of the usual licenses of datasets on the Hub, which rejects unknown names.
_LICENSES = frozenset(
    {
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"),
        *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
        *("cc-by-3.0", "cc-by-sa-3.0", "odbl", "odc-by", "pddl", "unlicense"),
    }
)


def dataset_card(
    dataset_id: str,
    metadata: Metadata,
    *,
    size: int,
    address: str,
    returns: Mapping[str, Any] | None = None,
) -> str:
    """Return the card of one dataset.

    >>> card = dataset_card("toy/a-v0", {"total_episodes": 2, "total_steps": 9}, size=1200, address="hf://me/toy/a-v0")
    >>> "minari download hf://me/toy/a-v0" in card
    True

    Args:
        dataset_id: id of the dataset.
        metadata: content of its ``metadata.json``. Missing values are left out, invalid ones are shown literally.
        size: size of all its files in bytes.
        address: full address for ``minari download``, such as ``hf://me/toy/a-v0``.
        returns: ``min``, ``mean``, ``max`` and ``std`` of the returns of its episodes, if they are known.
    """
    description = metadata.get("description")
    sections = [
        f"# {as_markdown(dataset_id)}",
        as_quotation(description if isinstance(description, str) else one_line(description)) if description else "",
        markdown_table(("", ""), _facts(metadata, size, returns)),
        "## Spaces",
        _spaces(metadata),
        "## Loading it",
        _loading(dataset_id, address, has_agents=agents_of(metadata) is not None),
    ]
    return _card(_front_matter(dataset_id, [metadata]), sections)


def repository_card(repository: str, datasets: Mapping[str, Metadata]) -> str:
    """Return the card of a repository of datasets.

    >>> card = repository_card("me/toy", {"toy/a-v0": {"total_episodes": 2, "total_steps": 9}})
    >>> "| [toy/a-v0](https://huggingface.co/datasets/me/toy/tree/main/a-v0) | 2 | 9 |" in card
    True

    Args:
        repository: owner and name, joined by ``/``.
        datasets: id -> metadata of all its datasets; the first part of an id is the name of the repository.
    """
    owner, _, name = repository.partition("/")
    rows = []
    for dataset_id, metadata in datasets.items():
        facts = {fact.key: _markdown(fact) for fact in dataset_facts(metadata) if fact.key in _COLUMNS}
        link = f"[{as_markdown(dataset_id)}]({_page(repository, dataset_id)})"
        rows.append([link, *(facts.get(key, "") for key in _COLUMNS)])
    example = next(iter(datasets), f"{name}/dataset-v0")
    sections = [
        f"# {as_markdown(name)}",
        f"Datasets of reinforcement-learning episodes: {len(rows)}.",
        markdown_table(("Dataset", *_COLUMNS.values()), rows),
        "## Loading one of them",
        _loading(example, f"hf://{owner}/{example}"),
    ]
    return _card(_front_matter(name, list(datasets.values())), sections)


def _card(front_matter: DatasetCardData, sections: Iterable[str]) -> str:
    parts = [f"---\n{front_matter.to_yaml()}\n---", CARD_MARKER, *filter(None, sections)]
    return "\n\n".join(parts) + "\n"


def _front_matter(name: str, datasets: list[Metadata]) -> DatasetCardData:
    steps = [metadata.get("total_steps") for metadata in datasets]
    return DatasetCardData(
        pretty_name=one_line(name),
        **_license(datasets),
        tags=list(_TAGS),
        task_categories=["reinforcement-learning"],
        size_categories=[_size_category(sum(min(count, _MOST_STEPS) for count in steps if isinstance(count, int)))],
        viewer=False,  # the files are not tables that the Hub can show
    )


def _license(datasets: list[Metadata]) -> dict[str, Any]:
    """Return the license if all datasets have the same; unknown licenses become ``other``."""
    named = {one_line(metadata.get("license") or "") for metadata in datasets}
    (license_name,) = named if len(named) == 1 else ("",)
    if not license_name:
        return {}
    if license_name.lower() in _LICENSES:
        return {"license": license_name.lower()}
    plain = re.sub(r"[^a-z0-9.-]+", "-", license_name.lower()).strip("-") or "other"
    return {"license": "other", "license_name": plain}


def _size_category(steps: int) -> str:
    """Return the size category of the Hub for a number of steps.

    >>> _size_category(999), _size_category(1000), _size_category(10**12)
    ('n<1K', '1K<n<10K', 'n>1T')
    """
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    decade = len(str(steps)) - 3
    if decade < 1:
        return f"n<{bounds[0]}"
    return f"{bounds[decade - 1]}<n<{bounds[decade]}" if decade < len(bounds) else f"n>{bounds[-1]}"


def _facts(metadata: Metadata, size: int, returns: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return the known facts of a dataset as rows of a table, in Markdown."""
    known = dataset_facts({**metadata, "dataset_size": size})
    texts = {fact.key: _markdown(fact) for fact in known if fact.key not in _NOT_IN_TABLE}
    texts["dataset_size"] = f"{readable_size(size)}, {as_markdown(metadata.get('data_format') or 'hdf5')}"
    titles = {fact.key: _TITLES.get(fact.key, fact.title.capitalize()) for fact in known}
    keys = sorted(texts, key=lambda key: key not in _FIRST)  # the others stay in their order
    rows = [(titles[key], texts[key]) for key in keys]
    rows.append(("Returns", ", ".join(f"{name} {_numbers(value)}" for name, value in (returns or {}).items())))
    return [(title, text) for title, text in rows if text]


def _markdown(fact: Fact) -> str:
    """Return a fact as escaped Markdown; empty if it is not provided."""
    if fact.value is None:
        return ""
    if fact.form == "link":
        return link_or_text(fact.value)
    if fact.key == "ref_scores":
        return " to ".join("?" if score is None else number(score) for score in fact.value)
    # A plain value is not converted to text before it is known to be short.
    return number(fact.value) if fact.to_text is str else as_markdown(fact.to_text(fact.value))


def _numbers(value: float | Sequence[Any]) -> str:
    """Return a number, or those of the components of rewards, as text."""
    return number(float(value)) if isinstance(value, (int, float)) else f"[{', '.join(map(_numbers, value))}]"


def _spaces(metadata: Metadata) -> str:
    stored = {"observations": metadata.get("observation_space"), "actions": metadata.get("action_space")}
    if agents_of(metadata) is not None:
        rows = rows_of_agents(stored)
    else:
        rows = [row for name, space in stored.items() if space is not None for row in space_rows(name, space)]
    if not rows:
        return "They are those of the environment."
    headers = ("", "Space", "Shape", "Type", "Values")
    return markdown_table(headers, ([as_markdown(cell) for cell in row] for row in rows))


def _loading(dataset_id: str, address: str, *, has_agents: bool = False) -> str:
    there, here = one_line(address), one_line(dataset_id)
    use = ["    print(episode.observations, episode.actions, episode.rewards)"]
    if has_agents:
        use = ["    for agent in episode:", "        print(agent, episode[agent].observations, episode[agent].rewards)"]
    return "\n".join(
        [
            "```bash",
            'pip install "minari[hf]"',
            f"minari download {there}",
            "```",
            "",
            "```python",
            "import minari",
            "",
            f"minari.download_dataset({json.dumps(there, ensure_ascii=False)})",
            f"dataset = minari.load_dataset({json.dumps(here, ensure_ascii=False)})",
            "for episode in dataset:",
            *use,
            "```",
        ]
    )


def _page(repository: str, dataset_id: str) -> str:
    """Return the address of the files of a dataset on the Hub."""
    inside = dataset_id.partition("/")[2]
    return f"{_HUB}/datasets/{repository}/tree/main" + (f"/{inside}" if inside else "")
