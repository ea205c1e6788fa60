"""Plots of datasets and episodes with Matplotlib, with the same facts as ``minari show`` and ``minari view``.

Every function draws on the axes that it is given, or on a new figure, and returns the axes; none shows a figure, and
none changes a setting of Matplotlib. ``pip install "minari[plot]"`` installs what is needed.

>>> import minari, numpy as np
>>> import minari.plot
>>> dataset = minari.create_dataset_from_arrays(
...     "docs/plot-v0", observations=np.arange(7.0), actions=np.zeros(5), rewards=np.arange(5.0),
...     terminations=np.array([False, True, False, False, True]),
... )
>>> minari.plot.returns(dataset).get_title()
'docs/plot-v0: 2 episodes'
>>> [axes.get_title(loc="left") for axes in minari.plot.episode(dataset[1], leaves=["rewards", "actions"])]
['rewards', 'actions']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.arguments import check_count, expected_dataset
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from minari.inspection import Distribution, EpisodeInMemory, Histogram, overview_of, reduced, shared_histograms
from minari.inspection.clips import side_by_side
from minari.inspection.distributions import components
from minari.sampling.episode_statistics import DatasetStatistics


__all__ = ["compare", "episode", "returns"]

_BINS: Final = 20
_MOST_COMPONENTS: Final = 10  # lines of a leaf, as many as there are colors
_MOST_LEAVES: Final = 12  # that are drawn unless leaves are named
_MOST_POINTS: Final = 4000  # of a line
_MOST_TEXTS: Final = 20
_RANKS: Final = {"frames": 0, "rewards": 1, "actions": 2, "flag": 4}  # of kinds and fields; others are between
_STYLES: Final = ("-", "--", ":", "-.")  # of the lines of components
_PICTURES: Final = (4, 12)  # in a strip, at least and at most
_WIDTH: Final = 8.0  # inches
_HEIGHTS: Final = {"number": 1.5, "flag": 0.6, "frames": 1.5, "text": 0.9, "other": 1.0}  # inches, of a leaf
_FEW: Final = 40  # points of a line that are marked
_GREATEST: Final = 1e300  # beyond which Matplotlib fails to find an axis


def returns(dataset: MinariDataset, ax: Any = None, *, bins: int = _BINS) -> Any:
    """Draw the histogram of the returns of the episodes, for each component of the rewards.

    Args:
        dataset: a dataset or a view.
        ax: the axes to draw on; by default those of a new figure.
        bins: the greatest number of bins.

    Returns:
        The axes.

    Raises:
        ArgumentTypeError: ``dataset`` or ``ax`` is something else.
        ArgumentError: the view has no episodes, or ``bins`` is not a positive number.
        MissingDependencyError: Matplotlib is not installed.
    """
    if not isinstance(dataset, MinariDataset):
        raise ArgumentTypeError(expected_dataset("dataset", dataset))
    check_count("bins", bins, 1)
    (axes,) = _axes(1, None if ax is None else [ax], "ax", (6.0, 3.5))
    parts = list(components(_statistics(dataset.id, dataset).returns))
    found = shared_histograms([values for _, values in parts], bins)
    for place, ((label, values), one) in enumerate(zip(parts, found, strict=True)):
        summary = Distribution.of(values)
        name = f"[{label}]: {summary.summary()}" if label else summary.summary()
        _draw_histogram(axes, one, one.counts, f"C{place}", name, "-" if label else None)
        if summary.count:
            axes.axvline(float(_drawable(summary.mean)), color=f"C{place}", linestyle=":", linewidth=1.5)
    _finish_histogram(axes, "return", f"{dataset.id}: {_episodes(len(dataset))}")
    return axes


def compare(
    datasets: Sequence[MinariDataset] | Mapping[str, MinariDataset], axes: Any = None, *, bins: int = _BINS
) -> Any:
    """Draw the returns and the lengths of several datasets over each other, as shares of their episodes.

    Args:
        datasets: datasets or views, which are named by their ids, or a mapping from names to them.
        axes: two axes, for returns and lengths; by default those of a new figure.
        bins: the greatest number of bins.

    Returns:
        Both axes, as an array.

    Raises:
        ArgumentTypeError: ``datasets`` or ``axes`` is something else.
        ArgumentError: there are no datasets, one has no episodes, or their rewards have different components.
        MissingDependencyError: Matplotlib is not installed.
    """
    named = _named(datasets)
    check_count("bins", bins, 1)
    statistics = {name: _statistics(name, dataset) for name, dataset in named.items()}
    shapes = {one.returns.shape[1:] for one in statistics.values()}
    if len(shapes) > 1:
        raise ArgumentError(
            f"The returns of the datasets have the shapes {', '.join(map(str, sorted(shapes)))}, expected the same of "
            f"all; compare those that have it."
        )
    both = _axes(2, axes, "axes", (9.0, 3.5))
    for own, title, quantity in zip(both, ("return", "length in steps"), ("returns", "lengths"), strict=True):
        parts = [
            (name, label, place, values)
            for place, (name, one) in enumerate(statistics.items())
            for label, values in components(getattr(one, quantity))
        ]
        found = shared_histograms([values for *_, values in parts], bins)
        styles = {label: _STYLES[number % 4] for number, label in enumerate(dict.fromkeys(part[1] for part in parts))}
        for (name, label, place, values), one in zip(parts, found, strict=True):
            text = f"{name} [{label}]" if label else name
            shares = [count / len(values) for count in one.counts]
            _draw_histogram(own, one, shares, f"C{place}", text, styles[label] if label else None)
        _finish_histogram(own, title, "", "share of the episodes")
    return both


def episode(episode: Any, leaves: Iterable[str] | None = None, axes: Any = None) -> Any:
    """Draw the leaves of an episode over its steps, one below the other.

    Numbers are lines, one for each of up to 10 components; flags are areas where they are True; texts stand where they
    change; of pictures there is a strip.

    Args:
        episode: an episode such as ``dataset[3]``, of one agent or many.
        leaves: names of leaves, such as ``["rewards", "observations/camera"]``; by default up to 12, rewards, actions
            and pictures first, without flags that are False throughout.
        axes: as many axes as leaves; by default those of a new figure.

    Returns:
        The axes, as an array.

    Raises:
        ArgumentTypeError: ``episode``, ``leaves`` or ``axes`` is something else.
        ArgumentError: the episode lacks a leaf, or the number of axes is another one than that of the leaves.
        MissingDependencyError: Matplotlib is not installed.
    """
    reader = EpisodeInMemory(episode)
    names = _chosen(reader) if leaves is None else _checked_names(reader, leaves)
    heights = [_HEIGHTS[reader.leaf(name).kind] for name in names]
    own = _axes(len(names), axes, "axes", (_WIDTH, 0.5 + sum(heights)), heights=heights)
    lines = [each for each, name in zip(own, names, strict=True) if not _draw_leaf(each, reader, name)]
    for each in lines:
        each.set_xlim(-0.5, reader.length + 0.5)
        each.xaxis.get_major_locator().set_params(integer=True)
        each.tick_params(labelbottom=axes is not None or each is lines[-1])
    if lines:
        lines[-1].set_xlabel("step")
    return own


def _statistics(name: str, dataset: MinariDataset) -> DatasetStatistics:
    found = dataset.statistics()
    if not len(found.lengths):
        raise ArgumentError(f"The view {shortened(name)} has no episodes, expected at least one to draw.")
    return found


def _episodes(number: int) -> str:
    return f"{number} episode{'s' if number != 1 else ''}"


def _named(datasets: Any) -> dict[str, MinariDataset]:
    """Return datasets by the names that they have in a legend."""
    if isinstance(datasets, MinariDataset) or not isinstance(datasets, (Mapping, Sequence)):
        raise ArgumentTypeError(
            f"datasets is {shortened(datasets)}, expected a list of datasets, or a dict with their names."
        )
    pairs = list(datasets.items()) if isinstance(datasets, Mapping) else [(None, one) for one in datasets]
    if not pairs:
        raise ArgumentError("datasets is empty, expected at least one dataset.")
    named: dict[str, MinariDataset] = {}
    for place, (name, dataset) in enumerate(pairs):
        if not isinstance(dataset, MinariDataset):
            raise ArgumentTypeError(expected_dataset(f"datasets[{place if name is None else name!r}]", dataset))
        text = dataset.id if name is None else str(name)
        named[text if text not in named else f"{text} ({place + 1})"] = dataset
    return named


def _axes(number: int, given: Any, name: str, size: tuple[float, float], *, heights: Sequence[float] = (1.0,)) -> Any:
    """Return axes as an array: those that are given, or those of a new figure.

    Raises:
        ArgumentError: the number of axes is another one.
        ArgumentTypeError: there is something else among them.
        MissingDependencyError: Matplotlib is not installed.
    """
    pyplot = _pyplot()
    if given is None:
        shape = len(heights), number // len(heights)
        figure = pyplot.figure(figsize=size, layout="constrained")
        return figure.subplots(*shape, squeeze=False, height_ratios=heights).ravel()
    axes = np.atleast_1d(np.asarray(given, object)).ravel()
    for one in axes:
        if not hasattr(one, "stairs"):
            raise ArgumentTypeError(f"{name} is {shortened(one)}, expected axes of Matplotlib.")
    if len(axes) != number:
        raise ArgumentError(f"{name} has {len(axes)} axes, expected {number}.")
    return axes


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise MissingDependencyError(
            'Plots need Matplotlib, which is not installed; run pip install "minari[plot]".'
        ) from error
    return pyplot


# Histograms


def _draw_histogram(
    axes: Any, found: Histogram, heights: Sequence[float], color: str, label: str, line: str | None
) -> None:
    """Draw a histogram, filled unless the style of a line is given."""
    edges = _drawable(found.edges).tolist()
    if not edges:
        axes.plot([], [], color=color, label=label)
        return
    if len(edges) == 2 and edges[0] == edges[1]:  # all values are the same
        edges = [edges[0] - 0.5, edges[0] + 0.5]
    if line is None:
        axes.stairs(heights, edges, fill=True, color=color, alpha=0.35)
    axes.stairs(heights, edges, color=color, linestyle=line or "-", linewidth=1.2, label=_shown(label))


def _finish_histogram(axes: Any, quantity: str, title: str, heights: str = "episodes") -> None:
    axes.set_xlabel(quantity)
    axes.set_ylabel(heights)
    axes.set_title(_shown(title))
    axes.set_ylim(bottom=0)
    if heights == "episodes":
        axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="small", frameon=False)


def _drawable(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return numbers within the bounds of what can be drawn."""
    return np.clip(np.asarray(values, np.float64), -_GREATEST, _GREATEST)


def _shown(text: str) -> str:
    """Return text from data so that Matplotlib shows it: not as a formula, nor hidden for its first character."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return f"{' ' * plain.startswith('_')}{plain}".replace("$", r"\$")


# Episodes


def _chosen(reader: EpisodeInMemory) -> list[str]:
    """Return the names of the leaves that are drawn unless others are asked for."""
    ranked = []
    for place, leaf in enumerate(reader.leaves):
        is_silent = leaf.kind == "flag" and not np.any(reader.values(leaf.name))
        if leaf.kind != "other" and not is_silent and reader.rows(leaf.name):
            field = leaf.name.rpartition("/")[2]
            rank = _RANKS.get(leaf.kind, _RANKS.get(field, 3))
            ranked.append((rank, place, leaf.name))
    return [name for _, _, name in sorted(ranked)[:_MOST_LEAVES]]


def _checked_names(reader: EpisodeInMemory, leaves: Iterable[str]) -> list[str]:
    if isinstance(leaves, str) or not isinstance(leaves, Iterable):
        raise ArgumentTypeError(f'leaves is {shortened(leaves)}, expected a list of names such as ["rewards"].')
    names = [reader.leaf(name).name for name in leaves]
    if not names:
        raise ArgumentError("leaves is empty, expected at least one name; without it, up to 12 leaves are drawn.")
    return names


def _draw_leaf(axes: Any, reader: EpisodeInMemory, name: str) -> bool:
    """Draw a leaf; return whether it is a strip of pictures, whose axis has no steps."""
    leaf = reader.leaf(name)
    axes.set_title(_shown(name), loc="left", fontsize="medium")
    if leaf.kind == "frames":
        _draw_frames(axes, reader, name)
        return True
    if leaf.kind == "other":
        raise ArgumentError(
            f"The leaf {shortened(name)} has values without a fixed shape, expected numbers, flags, text or pictures."
        )
    found = overview_of(reader, name, _MOST_COMPONENTS)
    if leaf.kind == "text":
        _draw_texts(axes, found.texts[:_MOST_TEXTS])
    for component in found.components:
        label = f"[{component.label}]" if component.label else None
        (_draw_flag if leaf.kind == "flag" else _draw_line)(axes, found.timesteps, component.numbers, label)
    if len(found.components) > 1:
        more = f"{found.omitted} more" if found.omitted else None
        axes.legend(fontsize="x-small", frameon=False, loc="upper left", bbox_to_anchor=(1, 1), ncols=2, title=more)
    return False


def _draw_line(axes: Any, steps: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64], label: str | None) -> None:
    places, values = reduced(numbers, _MOST_POINTS)
    axes.plot(steps[places], _drawable(values), linewidth=1, label=label, marker="." if len(values) <= _FEW else None)


def _draw_flag(axes: Any, steps: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64], label: str | None) -> None:
    """Draw an area as wide as a step around each step at which a flag is True."""
    at_steps = np.zeros(int(steps.max(initial=0)) + 1)
    at_steps[steps] = numbers
    axes.stairs(at_steps, np.arange(len(at_steps) + 1) - 0.5, fill=True, alpha=0.6, label=label)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1], ["False", "True"])


def _draw_texts(axes: Any, texts: Sequence[tuple[int, str]]) -> None:
    """Write each text at the step at which it begins."""
    axes.set_yticks([])
    axes.set_ylim(0, 1)
    for place, (step, text) in enumerate(texts):
        axes.axvline(step, color="0.7", linewidth=1)
        cut = text if len(text) <= 40 else f"{text[:40]}…"
        axes.annotate(_shown(cut), (step, 0.85 - 0.25 * (place % 4)), (3, 0), textcoords="offset points", va="center")


def _draw_frames(axes: Any, reader: EpisodeInMemory, name: str) -> None:
    """Draw evenly spaced pictures beside each other, with their steps below."""
    height, width = reader.frames_at(name, np.array([0])).shape[1:3]
    number = int(np.clip((_WIDTH / _HEIGHTS["frames"]) * height / width, *_PICTURES))
    rows = np.linspace(0, reader.rows(name) - 1, min(number, reader.rows(name))).round().astype(np.int64)
    pictures = reader.frames_at(name, rows)
    gap = max(width // 20, 1)
    axes.imshow(side_by_side(list(pictures), gap), interpolation="nearest")
    centers = np.arange(len(rows)) * (width + gap) + width / 2
    axes.set_xticks(centers, reader.timesteps(name)[rows].tolist())
    axes.set_yticks([])
    axes.set_anchor("W")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
