"""One episode: its facts, and the values of its leaves as plots, pictures and texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from minari._base.json_text import shortened
from minari.errors import ArgumentError
from minari.inspection import EpisodeLeaf, EpisodeReader, reduced
from minari.inspection.clips import frames_per_second
from minari.inspection.overview import bounds_of, text_changes
from minari.viewer.answers import Refusal, as_json, cut, numbers, plain, plotted
from minari.viewer.facts import leaf_as_json
from minari.viewer.opened import Opened
from minari.viewer.requests import Query
from minari.viewer.summaries import component_label


__all__ = ["episode", "frames", "series", "texts"]

_MOST_COMPONENTS: Final = 64
_MOST_POINTS: Final = 10_000
_USUAL_POINTS: Final = 2_000
_MOST_NUMBERS: Final = 400_000  # of a series in an answer
_MOST_PIXELS: Final = 16_000_000  # bytes of frames in an answer
_MOST_TEXTS: Final = 10_000
_MOST_CHARACTERS: Final = 4_000_000  # of texts in an answer
_PLOTTED = ("number", "flag")
_LAST: Final = 2**52


def _reader(opened: Opened, query: Query) -> EpisodeReader:
    revision = query.text("revision", "")
    if revision:
        opened.check_revision(revision)
    return opened.episode(query.number("episode", 0, _LAST))


def _leaf(reader: EpisodeReader, query: Query) -> EpisodeLeaf:
    """Return the leaf that a request names.

    Raises:
        Refusal: there is no such leaf.
    """
    name = query.text("leaf")
    try:
        return reader.leaf(name)
    except ArgumentError as error:
        raise Refusal(404, "LeafNotFound", str(error)) from error


def episode(opened: Opened, query: Query) -> dict[str, Any]:
    """Return the facts of an episode and of its leaves."""
    reader = _reader(opened, query)
    outcomes = reader.outcomes
    returns = numbers(outcomes.returns.reshape(-1)[:_MOST_COMPONENTS])
    return {
        "id": reader.number,
        "revision": opened.revision,
        "length": plain(reader.length),
        "return": returns[0] if outcomes.returns.ndim == 1 else returns,
        "terminated": bool(outcomes.terminated[0]),
        "truncated": bool(outcomes.truncated[0]),
        "fps": frames_per_second(reader.metadata, opened.dataset.storage.current_metadata.raw),
        "metadata": {cut(key): plain(value) for key, value in reader.metadata.items() if value is not None},
        "agents": reader.agents,
        "leaves": [_described(reader, leaf) for leaf in reader.leaves],
    }


def _described(reader: EpisodeReader, leaf: EpisodeLeaf) -> dict[str, Any]:
    low, high = bounds_of(reader.values(leaf.name)) if leaf.kind in _PLOTTED else (None, None)
    picture = leaf.picture
    return {
        **leaf_as_json(leaf),
        "rows": reader.rows(leaf.name),
        "components": plain(leaf.components),
        "min": low,
        "max": high,
        "frame": None if picture is None else {"height": picture.height, "width": picture.width},
    }


def series(opened: Opened, query: Query) -> dict[str, Any]:
    """Return the values of a leaf of numbers or flags, reduced to what a plot can show.

    Raises:
        Refusal: there is no such leaf.
        ArgumentError: its values are neither numbers nor flags.
    """
    most = query.number("most", 2, _MOST_POINTS, _USUAL_POINTS)
    reader = _reader(opened, query)
    leaf = _leaf(reader, query)
    if leaf.kind not in _PLOTTED:
        raise ArgumentError(f"leaf is {shortened(leaf.name)}, whose values are {leaf.kind}, expected numbers or flags.")
    values = reader.values(leaf.name)
    flat = values.reshape(len(values), leaf.components)[:, :_MOST_COMPONENTS]
    count = max(flat.shape[1], 1)
    if flat.size > _MOST_NUMBERS:  # each of the components has points of its own
        most = min(most, max(_MOST_NUMBERS // count**2, 2))
    positions, rows = reduced(flat, most)
    labels = [component_label(", ".join(map(str, place))) for place in _first(np.ndindex(leaf.shape), count)]
    return {
        "steps": numbers(reader.timesteps(leaf.name)[positions]),
        "components": [
            {"label": label, "values": plotted(rows[:, place])} for place, label in enumerate(labels[: flat.shape[1]])
        ],
        "omitted": max(leaf.components - flat.shape[1], 0),
    }


def _first(items: Iterable[Any], count: int) -> list[Any]:
    return [item for item, _ in zip(items, range(count), strict=False)]


def frames(opened: Opened, query: Query) -> tuple[dict[str, str], bytes]:
    """Return the pictures of a leaf, as many as an answer may have: the headers that describe them, and the pixels.

    The pixels are RGB of shape (n, H, W, 3), uint8, in the order of C.

    Raises:
        Refusal: there is no such leaf.
        ArgumentError: its values are not pictures.
    """
    start = query.number("start", 0, _LAST, 0)
    stop = query.number("stop", 0, _LAST, _LAST)
    reader = _reader(opened, query)
    leaf = _leaf(reader, query)
    if leaf.picture is None:
        raise ArgumentError(f"leaf is {shortened(leaf.name)}, whose values are {leaf.kind}, expected pictures.")
    most = max(_MOST_PIXELS // (leaf.picture.height * leaf.picture.width * 3), 1)
    found = reader.frames(leaf.name, start, min(stop, start + most))
    count, height, width, _ = found.shape
    names = ("X-Frames-Start", "X-Frames-Count", "X-Frame-Height", "X-Frame-Width")
    return dict(zip(names, map(str, (start, count, height, width)), strict=True)), found.tobytes()


def texts(opened: Opened, query: Query) -> dict[str, Any]:
    """Return the texts of a leaf where they change; values that are not text are given as JSON.

    Raises:
        Refusal: there is no such leaf.
        ArgumentError: its values are numbers, flags or pictures.
    """
    reader = _reader(opened, query)
    leaf = _leaf(reader, query)
    if leaf.kind not in ("text", "other"):
        raise ArgumentError(f"leaf is {shortened(leaf.name)}, whose values are {leaf.kind}, expected texts.")
    found: list[dict[str, Any]] = []
    left = _MOST_CHARACTERS
    shown = (value if isinstance(value, str) else as_json(plain(value)).decode() for value in reader.values(leaf.name))
    for step, text in text_changes(map(cut, shown), reader.timesteps(leaf.name)):
        left -= len(text)
        if len(found) == _MOST_TEXTS or left < 0:
            return {"texts": found, "cut": True}
        found.append({"step": step, "text": text})
    return {"texts": found, "cut": False}
