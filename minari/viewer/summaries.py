"""Distributions: of returns and lengths, of the leaves of a dataset, and of two datasets side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._model.multi_agent import agent_name
from minari.inspection import Distribution, EpisodeLeaf, Histogram, histogram, shared_histograms, summarize_leaves
from minari.inspection.distributions import components
from minari.inspection.leaf_summaries import evenly_spaced, leaf_values
from minari.sampling.episode_statistics import EpisodeOutcomes
from minari.viewer.answers import cut, numbers, plain
from minari.viewer.facts import leaf_as_json, texts_of_facts
from minari.viewer.opened import Opened
from minari.viewer.requests import Query


__all__ = ["compare", "component_label", "distributions", "leaves"]

_MOST_COMPONENTS: Final = 64
_MOST_COMPARED: Final = 16  # components of a leaf
_MOST_STEPS: Final = 2**15  # of each of two datasets that are compared


def distributions(opened: Opened, query: Query) -> dict[str, Any]:
    """Return the distributions of returns and lengths of all episodes, or of those that a condition selects.

    Raises:
        ArgumentError: it is not a condition.
    """
    chosen = opened.outcomes().take(opened.selected(query.text("where", "")))
    terminated, truncated = chosen.terminated, chosen.truncated
    acting = {agent: one.take(one.lengths > 0) for agent, one in chosen.agents.items()}
    return {
        "episodes": len(chosen),
        **_returns_and_lengths(chosen),
        "flags": {
            "terminated": int((terminated & ~truncated).sum()),
            "truncated": int((truncated & ~terminated).sum()),
            "both": int((terminated & truncated).sum()),
            "neither": int((~terminated & ~truncated).sum()),
        },
        "agents": [
            {
                "agent": agent_name(agent),
                "episodes": len(one),
                "steps": plain(int(one.lengths.sum())),
                **_returns_and_lengths(one),
            }
            for agent, one in acting.items()
        ],
    }


def _returns_and_lengths(episodes: EpisodeOutcomes) -> dict[str, Any]:
    returns = [_labeled(label, values) for label, values in _components(episodes.returns, _MOST_COMPONENTS)]
    lengths = episodes.lengths.astype(np.float64)
    return {"returns": returns, "lengths": _labeled("", lengths)}


def _components(values: npt.NDArray[Any], most: int) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    return ((component_label(label), each) for label, each in islice(components(values), most))


def component_label(label: str) -> str:
    """Return the label of a component of an array, as it follows the name of the array."""
    return f"[{label}]" if label else ""


def _labeled(label: str, values: npt.NDArray[np.float64]) -> dict[str, Any]:
    return {"label": label, "summary": _summary(Distribution.of(values)), "histogram": _histogram(histogram(values))}


def _summary(distribution: Distribution) -> dict[str, Any]:
    return {name: plain(value) for name, value in distribution.numbers().items()}


def _histogram(found: Histogram) -> dict[str, Any]:
    return {
        "edges": numbers(np.array(found.edges, np.float64)),
        "counts": found.counts,
        "labels": found.labels,
        "not_finite": found.not_finite,
    }


def leaves(opened: Opened) -> dict[str, Any]:
    """Return the distributions of all leaves, from as many episodes as can be read at once; computed once."""
    return opened.computed("leaves", lambda: _leaves(opened))


def _leaves(opened: Opened) -> dict[str, Any]:
    dataset = opened.dataset
    sampled = summarize_leaves(dataset.storage, dataset.episode_indices)
    return {
        "episodes": sampled.episodes,
        "of_episodes": len(dataset),
        "steps": sampled.steps,
        "leaves": [
            {
                **leaf_as_json(one.leaf),
                "components": [
                    {"label": component_label(label), "summary": _summary(found), "histogram": _histogram(bins)}
                    for label, found, bins in one.components
                ],
                "omitted": one.omitted,
                "texts": [{"text": cut(text), "count": count} for text, count in one.texts],
            }
            for one in sampled.leaves
        ],
    }


def compare(pair: Sequence[Opened]) -> dict[str, Any]:
    """Return two datasets side by side: their facts, and distributions in the same bins."""
    facts = [texts_of_facts(opened) for opened in pair]
    keys = list(dict.fromkeys(key for one in facts for key in one))
    both = [opened.outcomes() for opened in pair]
    returns = [dict(_components(one.returns, _MOST_COMPONENTS)) for one in both]
    lengths = [one.lengths.astype(np.float64) for one in both]
    values = [_sampled(opened) for opened in pair]
    alike, only_in = _alike_leaves(values)
    return {
        "datasets": [opened.name for opened in pair],
        "facts": [_compared_fact(key, [one.get(key) for one in facts]) for key in keys],
        "returns": [
            {"label": label, **_side_by_side([one[label] for one in returns])}
            for label in returns[0]
            if label in returns[1]
        ],
        "lengths": _side_by_side(lengths),
        "leaves": [one for name in alike for one in _compared_leaf(name, [found[name] for found in values])],
        "only_in": only_in,
    }


def _compared_fact(key: str, pair: Sequence[tuple[str, str] | None]) -> dict[str, Any]:
    title = next(one[0] for one in pair if one is not None)
    texts = [None if one is None else one[1] for one in pair]
    return {"key": key, "title": title, "texts": texts, "same": texts[0] == texts[1]}


def _sampled(opened: Opened) -> dict[str, tuple[EpisodeLeaf, list[Any]]]:
    dataset = opened.dataset
    chosen, _ = evenly_spaced(dataset.storage, dataset.episode_indices, _MOST_STEPS)
    return leaf_values(dataset.storage, chosen)


def _alike_leaves(
    values: Sequence[dict[str, tuple[EpisodeLeaf, list[Any]]]],
) -> tuple[list[str], list[list[str]]]:
    """Return the names of the leaves of numbers and flags that can be compared, and those of either dataset alone.

    A leaf that is in both with different types is named with its type, as one of either alone.
    """
    first, second = values
    alike = [name for name in first if name in second and _type(first[name][0]) == _type(second[name][0])]
    only_in = [
        [
            f"{name} {_type_text(leaf)}" if name in other else name
            for name, (leaf, _) in own.items()
            if name not in alike
        ]
        for own, other in ((first, second), (second, first))
    ]
    return [name for name in alike if first[name][0].kind != "text"], only_in


def _type(leaf: EpisodeLeaf) -> tuple[str, tuple[int, ...]]:
    return leaf.kind, leaf.shape


def _type_text(leaf: EpisodeLeaf) -> str:
    return f"({leaf.dtype}, shape {leaf.shape})" if leaf.shape else f"({leaf.dtype})"


def _compared_leaf(name: str, pair: Sequence[tuple[EpisodeLeaf, list[Any]]]) -> Iterator[dict[str, Any]]:
    rows = [np.concatenate(arrays) if arrays else np.zeros((0, *leaf.shape)) for leaf, arrays in pair]
    for (label, one), (_, other) in zip(*(_components(each, _MOST_COMPARED) for each in rows), strict=True):
        yield {"name": cut(name), "label": label, **_side_by_side([one, other])}


def _side_by_side(pair: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Return the summaries of two arrays of numbers, and their counts in common bins."""
    common = shared_histograms(pair)
    return {
        "summaries": [_summary(Distribution.of(values)) for values in pair],
        "edges": numbers(np.array(common[0].edges, np.float64)),
        "labels": common[0].labels,
        "counts": [one.counts for one in common],
    }
