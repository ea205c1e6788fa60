"""Results as charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks import collection as collecting
from benchmarks.growth import KINDS, Curves
from benchmarks.results import Result
from benchmarks.rivals.figures import COUNTED, FLOOR, OURS
from benchmarks.rivals.figures import Figures as Contested
from benchmarks.rivals.workloads import Work
from benchmarks.sampling import TITLES, Figures, over_floor
from benchmarks.texts import figure as shown_time
from benchmarks.texts import times


BLUE = "#3b76b0"
INK, GRAY, PALE = "#262626", "#6b6b6b", "#e4e4e4"
_FASTEST = 12  # other libraries in a chart
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


def ratios(results: Sequence[Result], path: Path) -> None:
    """Draw the speedup of each workload over the released package as bars."""
    shown = [result for result in results if math.isfinite(result.ratio)]
    if not shown:
        return
    picture = Figure(figsize=(10, 1.5 + 0.38 * len(shown)), layout="constrained")
    axes = picture.subplots()
    for row, result in enumerate(shown):
        _bar(axes, row, result.ratio, BLUE)
    ends = [number for result in shown for number in (result.ratio, 1.0)]
    _logarithmic(axes, min(ends) * 0.8, max(ends) * 2.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the first one on top
    axes.set_yticks(range(len(shown)), [result.workload.title.replace("`", "") for result in shown])
    axes.axvline(1, color=INK, linewidth=0.9)
    _plain(axes)
    picture.suptitle("Speedup over Minari 0.5.4", x=0.01, ha="left", fontsize=12, fontweight="bold")
    picture.savefig(path, dpi=160, facecolor="white")


def _bar(axes: Axes, row: int, ratio: float, color: str) -> None:
    axes.barh(row, ratio - 1, left=1, height=0.6, color=color)
    axes.annotate(
        times(ratio),
        (max(ratio, 1), row),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        fontsize=9,
        fontweight="bold",
    )


def _logarithmic(axes: Axes, least: float, most: float, ticks: Sequence[float] = TICKS) -> None:
    axes.set_xscale("log")
    axes.set_xlim(least, most)
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if least <= tick <= most]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} ×"))


def _plain(axes: Axes, grid: Any = "x") -> None:
    """Leave only the data and a faint grid behind it."""
    axes.grid(axis=grid, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.spines[:].set_visible(False)


def growth(curves: Curves, path: Path) -> None:
    """Draw one small chart for each kind: the unit cost over the number of units, with the axis starting at zero."""
    picture = Figure(figsize=(10, 5.6), layout="constrained")
    for axes, (kind, (title, unit)) in zip(picture.subplots(2, 2).flat, KINDS.items(), strict=True):
        sizes, seconds = zip(*sorted(curves[kind].items()), strict=True)
        axes.plot(sizes, [value * 1e6 for value in seconds], color=BLUE, linewidth=2, marker="o", markersize=5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 2.8)
        axes.set_ylim(0, max(seconds) * 1e6 * 1.35)
        axes.annotate(
            shown_time(seconds[-1]),
            (sizes[-1], seconds[-1] * 1e6),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=INK,
        )
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
        axes.set_ylabel(f"µs {'an' if unit[0] in 'aeiou' else 'a'} {unit}", fontsize=9, color=GRAY)
        _plain(axes, "y")
    picture.suptitle("Cost per unit over the number of units N", x=0.01, ha="left", fontsize=12, fontweight="bold")
    picture.savefig(path, dpi=160, facecolor="white")


def sampling(figures: Figures, path: Path) -> None:
    """Draw one small chart for each kind of batch: the time of each library, relative to the floor."""
    ratios = {case: over_floor(found) for case, found in figures.items()}
    shown = {case: found for case, found in ratios.items() if found}
    if not shown:
        return
    # Two to a row, transitions beside windows, in rows as high as their bars.
    pairs = [list(shown.items())[first : first + 2] for first in range(0, len(shown), 2)]
    heights = [max(len(found) for _, found in pair) for pair in pairs]
    picture = Figure(figsize=(10, 0.8 + 0.4 * len(pairs) + 0.28 * sum(heights)), layout="constrained")
    every = picture.subplots(len(pairs), 2, sharex=True, height_ratios=heights, squeeze=False)
    ends = [number for found in shown.values() for number in (*found.values(), 1.0)]
    for row, pair, height in zip(every, pairs, heights, strict=True):
        for axes in row[len(pair) :]:
            axes.set_visible(False)
        for axes, (case, found) in zip(row, pair, strict=False):
            for place, (side, ratio) in enumerate(found.items()):
                _bar(axes, place, ratio, BLUE if side == "minari" else GRAY)
            _logarithmic(axes, min(ends) * 0.8, max(ends) * 4, (0.1, 1, 10, 100, 1000))
            axes.set_ylim(height - 0.5, -0.5)
            axes.set_yticks(range(len(found)), [TITLES[side] for side in found])
            axes.axvline(1, color=INK, linewidth=0.9)
            axes.set_title(case.title, loc="left", fontsize=10, fontweight="bold", color=INK)
            _plain(axes)
    picture.suptitle("Time for a batch, relative to the floor", x=0.01, ha="left", fontsize=12, fontweight="bold")
    picture.savefig(path, dpi=160, facecolor="white")


def collection(figures: collecting.Figures, path: Path) -> None:
    """Draw what each library adds to a step of a sub-environment over their number, on logarithmic axes."""
    curves = {
        side: {size: seconds for size, seconds in curve.items() if seconds > 0}
        for side, curve in collecting.growth(figures).items()
    }
    curves = {side: curve for side, curve in curves.items() if curve}
    picture = Figure(figsize=(10, 4.2), layout="constrained")
    axes = picture.subplots()
    label_at = 0.0
    for side, curve in sorted(curves.items(), key=lambda item: list(item[1].values())[-1]):
        sizes, seconds = zip(*curve.items(), strict=True)
        color = BLUE if side == "minari" else GRAY
        axes.plot(sizes, [value * 1e6 for value in seconds], color=color, linewidth=2, marker="o", markersize=5)
        label_at = max(seconds[-1], 1.45 * label_at)  # above the label of the one below
        axes.annotate(
            f"{collecting.TITLES[side]}, {shown_time(seconds[-1])}",
            (sizes[-1], label_at * 1e6),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold",
            color=INK,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({size for curve in curves.values() for size in curve})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.set_xlim(0.8, 4500)
    axes.set_xlabel("sub-environments", fontsize=9, color=GRAY)
    axes.set_ylabel("µs added to a step", fontsize=9, color=GRAY)
    _plain(axes, "y")
    picture.suptitle("Cost of collecting CartPoleVectorEnv", x=0.01, ha="left", fontsize=12, fontweight="bold")
    picture.savefig(path, dpi=160, facecolor="white")


def rivals(figures: Contested, path: Path) -> None:
    """Draw the times of the libraries relative to NumPy, for vectors and frames, one small chart for each operation."""
    panels = [
        (work, name)
        for work in figures.works()
        if work.name in ("vectors", "frames-still")
        for name in ("disk", "read", "transitions", "windows")
        if figures.median(work.name, FLOOR, name)
    ]
    if not panels:
        return
    found = [_over_numpy(figures, work, name) for work, name in panels]
    most = max(len(ratios) for ratios in found)
    rows = math.ceil(len(panels) / 2)
    picture = Figure(figsize=(11, rows * (0.8 + 0.24 * most) + 0.5), layout="constrained")
    every = picture.subplots(rows, 2, squeeze=False)
    for axes in every.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (work, name), shown in zip(every.flat, panels, found, strict=False):
        for place, (side, ratio) in enumerate(shown):
            is_whole = figures.libraries[side].keeps_all(work.kind == "frames")
            _bar(axes, place, ratio, BLUE if side.startswith(OURS) else GRAY if is_whole else PALE)
        ends = [ratio for _, ratio in shown] + [1.0]
        _logarithmic(axes, min(ends) * 0.6, max(ends) * 12, (0.1, 1, 10, 100, 1000, 10_000, 100_000))
        axes.set_ylim(most - 0.5, -0.5)
        titles = [figures.libraries[side].title.replace("`", "").replace("**", "") for side, _ in shown]
        axes.set_yticks(range(len(shown)), titles)
        axes.axvline(1, color=INK, linewidth=0.9)
        axes.set_title(f"{work.name}, {COUNTED[name][0]}", loc="left", fontsize=10, fontweight="bold", color=INK)
        _plain(axes)
    title = f"Time relative to NumPy: Minari and the {_FASTEST} fastest others (pale: loses values)"
    picture.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    picture.savefig(path, dpi=110, facecolor="white")


def _over_numpy(figures: Contested, work: Work, name: str) -> list[tuple[str, float]]:
    """Return this library and the fastest others, with their times relative to NumPy, the fastest first."""
    floor = figures.median(work.name, FLOOR, name) or math.nan
    medians = {side: figures.median(work.name, side, name) for side in figures.outcomes[work.name] if side != FLOOR}
    known = {side: value / floor for side, value in medians.items() if value is not None}
    ordered = sorted(known, key=lambda side: known[side])
    fastest = [side for side in ordered if not side.startswith(OURS)][:_FASTEST]
    return [(side, known[side]) for side in ordered if side.startswith(OURS) or side in fastest]
