"""``minari show --episode``: one episode with its leaves and pictures, or its pictures as files."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minari._base.json_text import shortened
from minari._base.plain_values import brief
from minari.cli.local_datasets import find_dataset, open_dataset
from minari.cli.pictures import Way, cell_size, drawn, grid_for, has_sixel, supported
from minari.cli.running import UsageError
from minari.cli.terminal import UNKNOWN, counted, echo, open_console, page_width, print_json, printable
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.validation.places import refuse_unreadable_in_place
from minari.errors import DataPathError
from minari.inspection import ComponentOverview, EpisodeReader, LeafOverview, condensed, overview_of
from minari.inspection.clips import Clip, frames_per_second, write_gif, write_mp4, write_strip
from minari.inspection.distributions import Distribution, short
from minari.sampling.episode_statistics import EpisodeOutcomes
from minari.spaces import AGENTS


__all__ = ["EpisodeRequest", "show_episode", "sparkline"]

_RANGE = re.compile(r"(\d{0,15}):(\d{0,15})", re.ASCII)
_LEVELS: Final = "▁▂▃▄▅▆▇"  # the full block would touch the line above
_ASCII_LEVELS: Final = "_.:-=+#"
_WIDEST: Final = 60  # columns of a sparkline
_NARROWEST: Final = 8
_WIDE: Final = 72  # columns of a terminal, from which types are shown
_SHARE: Final = 0.84  # of the width that the other columns have at most
_MOST_ROWS: Final = 24  # about, of components of leaves that are not asked for by their names
_LEAST_COMPONENTS: Final = 3  # of each of them
_MOST_ASKED: Final = 64
_MOST_TEXTS: Final = 6
_MOST_STEPS: Final = 4  # that are listed
_LONGEST_TEXT: Final = 200  # characters
_LONGEST_NAME: Final = 40
_ARRAY: Final = 6  # elements of an array that is shown whole
_MOST_ITEMS: Final = 20  # of a list
_MOST_FACTS: Final = 40
#: Metadata that other rows have; statistics of the rewards are stored with every recorded episode.
_SHOWN_ELSEWHERE: Final = frozenset(
    {"seed", "agents", *(f"rewards_{name}" for name in ("sum", "mean", "std", "min", "max"))}
)


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """Options of ``minari show`` for one episode.

    Attributes:
        episode: the number of the episode.
        leaves: the leaves to show; all if there are none.
        frames: the steps whose pictures are shown, as text: ``START:STOP``.
        pictures: how they are shown.
        save: the file of the strip of pictures.
        gif: the file of the animation.
        mp4: the file of the video.
        force: whether files are replaced.
    """

    episode: int
    leaves: Sequence[str] = ()
    frames: str | None = None
    pictures: Way = "auto"
    save: str | None = None
    gif: str | None = None
    mp4: str | None = None
    force: bool = False


def show_episode(dataset: str, request: EpisodeRequest, as_json: bool) -> None:
    """Print the description of an episode, or write its pictures to files."""
    start, stop = _parsed_range(request.frames)
    files = [(_new_file(path, request.force), kind) for path, kind in _files(request) if path is not None]
    refuse_unreadable_in_place(find_dataset(dataset), dataset)
    opened = open_dataset(dataset)
    reader = EpisodeReader(opened.storage, request.episode)
    if files:
        clip = Clip.of(reader, request.leaves, start, stop)
        for path, kind in files:
            _write(path, kind, clip, opened)
        return
    names = [leaf.name for leaf in map(reader.leaf, request.leaves)] or [leaf.name for leaf in reader.leaves]
    of_vectors = sum(leaf.kind in ("number", "flag") and leaf.components > 1 for leaf in reader.leaves)
    most = _MOST_ASKED if request.leaves else max(_MOST_ROWS // max(of_vectors, 1), _LEAST_COMPONENTS)
    if as_json:
        print_json(_as_json(reader, [overview_of(reader, name, _MOST_ASKED) for name in names]))
        return
    console = open_console(width=page_width())
    overviews = [overview_of(reader, name, most) for name in names]
    console.print(Text(f"{opened.id}, episode {reader.number}", style="bold"))
    console.print(_facts(reader))
    console.print()
    console.print(_table(reader, overviews, console))
    cameras = [one.leaf.name for one in overviews if one.leaf.kind == "frames" and one.rows]
    if cameras:
        _show_pictures(Clip.of(reader, cameras, start, stop), request.pictures, console)


# Files


def _files(request: EpisodeRequest) -> list[tuple[str | None, str]]:
    return [(request.save, "png"), (request.gif, "gif"), (request.mp4, "mp4")]


def _parsed_range(text: str | None) -> tuple[int | None, int | None]:
    """Return both bounds of a range.

    Raises:
        UsageError: it is not a range of steps.
    """
    match = _RANGE.fullmatch(text or ":")
    if match is None:
        raise UsageError(f"--frames is {shortened(text)}, expected START:STOP, such as 10:50, with steps from 0 on.")
    start, stop = (int(bound) if bound else None for bound in match.groups())
    return start, stop


def _new_file(name: str, force: bool) -> Path:
    """Return the path of a file to be written.

    Raises:
        DataPathError: it exists and must not be replaced, or its directory does not exist.
    """
    path = Path(name).expanduser()
    if path.is_dir() or not path.name:
        raise DataPathError(f"{path} is a directory, expected the path of a new file.")
    if os.path.lexists(path) and not force:
        raise DataPathError(f"{path} already exists and is not overwritten; --force replaces it.")
    if not path.parent.is_dir():
        raise DataPathError(f"There is no directory {path.parent}, in which {path.name} is to be written; make it.")
    return path


def _write(path: Path, kind: str, clip: Clip, dataset: MinariDataset) -> None:
    cameras = ", ".join(name for name, _ in clip.cameras)
    if kind == "png":
        write_strip(path, clip)
        echo(f"{path}: pictures of {cameras}, evenly spaced over the steps {clip.start} to {clip.stop - 1}")
        return
    fps = frames_per_second(clip.reader.metadata, dataset.storage.metadata)
    (write_gif if kind == "gif" else write_mp4)(path, clip, fps)
    echo(f"{path}: {counted(len(clip), 'picture')} of {cameras}, {short(fps)} a second")


# Facts


def _facts(reader: EpisodeReader) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim", max_width=_LONGEST_NAME, overflow="ellipsis")
    table.add_column(overflow="fold")
    outcomes, metadata = reader.outcomes, reader.metadata
    rows = [("length", counted(reader.length, "step")), ("return", _return(outcomes)), ("end", _end(outcomes))]
    rows.append(("seed", UNKNOWN if metadata.get("seed") is None else str(metadata["seed"])))
    further = {key: value for key, value in metadata.items() if key not in _SHOWN_ELSEWHERE and value is not None}
    facts = [fact for key, value in further.items() for fact in _flat_facts(key, value)]
    rows += [(name, _text(value)) for name, value in facts[:_MOST_FACTS]]
    if len(facts) > _MOST_FACTS:
        rows.append(("…", f"{counted(len(facts) - _MOST_FACTS, 'further value')} of the metadata (--json has all)"))
    for name, text in rows:
        table.add_row(_one_line(name), _one_line(text))
    return table


def _return(outcomes: EpisodeOutcomes) -> str:
    return ", ".join(f"{value:.6g}" for value in np.atleast_1d(outcomes.returns[0]).tolist())


def _end(outcomes: EpisodeOutcomes) -> str:
    flags = {"terminated": outcomes.terminated[0], "truncated": outcomes.truncated[0]}
    return " and ".join(name for name, is_true in flags.items() if is_true) or "neither terminated nor truncated"


def _flat_facts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat_facts(f"{name}/{key}", inner)
    else:
        yield name, value


def _text(value: Any) -> str:
    """Return a value as text; of large arrays, their range."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, np.ndarray) and value.size > _ARRAY and value.dtype.kind in "biuf":
        one = Distribution.of(value.ravel().astype(np.float64))
        bounds = f" of {short(one.minimum)}" if one.minimum == one.maximum else ""
        bounds = bounds or (f" from {short(one.minimum)} to {short(one.maximum)}" if one.count else "")
        return f"{value.dtype} {value.shape}{bounds}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        items = ", ".join(map(_text, value[:_MOST_ITEMS])) + ("…" if len(value) > _MOST_ITEMS else "")
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    return value if isinstance(value, str) else brief(value)


def _one_line(text: str) -> str:
    line = " ".join(printable(text[: 10 * _LONGEST_TEXT]).split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"


# Leaves


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table: cells, of which the last one is text, or numbers for a sparkline."""

    name: str
    values: str
    range: str
    text: str = ""
    series: npt.NDArray[np.float64] | None = None
    is_flag: bool = False
    is_heading: bool = False


def _table(reader: EpisodeReader, overviews: Sequence[LeafOverview], console: Console) -> Table:
    """Return the table of the leaves, those of each agent together; without their types on a narrow terminal."""
    rows = list(_rows(reader, overviews))
    columns = {"Leaf": [row.name for row in rows], "Range": [row.range for row in rows]}
    if console.width >= _WIDE:
        columns = {"Leaf": columns["Leaf"], "Type": [row.values for row in rows], "Range": columns["Range"]}
    most = int(console.width * _SHARE / len(columns))
    widths = {title: min(max(map(cell_len, (title, *cells))), most) for title, cells in columns.items()}
    width = min(max(console.width - sum(widths.values()) - 2 * len(widths), _NARROWEST), _WIDEST)
    lines = None if console.options.ascii_only else box.SIMPLE_HEAD
    between = 2 if lines is None else 1  # the box has a space as well
    table = Table(box=lines, show_edge=False, pad_edge=False, padding=(0, between, 0, 0), header_style="bold")
    for title, column in widths.items():
        table.add_column(title, overflow="fold", style="dim" if title == "Type" else "", width=column)
    table.add_column(f"Over {counted(reader.length, 'step')}", overflow="fold", min_width=width)
    for row, cells in zip(rows, zip(*columns.values(), strict=True), strict=True):
        drawing = Text(row.text)
        if row.series is not None and _varies(row.series):
            bounds = (0.0, 1.0) if row.is_flag else None
            line = sparkline(row.series, width, bounds, ascii_only=console.options.ascii_only)
            drawing = Text(line, style="cyan")
        table.add_row(*cells, drawing, style="bold" if row.is_heading else "")
    return table


def _varies(series: npt.NDArray[np.float64]) -> bool:
    finite = series[np.isfinite(series)]
    return bool(finite.size and (finite != finite[0]).any())


def _rows(reader: EpisodeReader, overviews: Sequence[LeafOverview]) -> Iterator[_Row]:
    for agent in dict.fromkeys(one.leaf.agent for one in overviews):
        prefix = "" if agent is None else f"{AGENTS}/{agent}/"
        if agent is not None:
            yield _Row(f"{AGENTS}/{agent}", "", "", _of_agent(reader, agent), is_heading=True)
        for one in overviews:
            if one.leaf.agent == agent:
                name = one.leaf.name.removeprefix(prefix)
                yield from _rows_of_leaf(one, f"  {name}" if prefix else name, reader.length)


def _of_agent(reader: EpisodeReader, agent: str) -> str:
    own = reader.outcomes_of_agent(agent)
    return f"{counted(int(own.lengths[0]), 'step')}, return {_return(own)}, {_end(own)}"


def _rows_of_leaf(one: LeafOverview, name: str, steps: int) -> Iterator[_Row]:
    leaf, name = one.leaf, _one_line_name(name)
    values = f"{leaf.dtype} {leaf.shape}" if leaf.shape else leaf.dtype
    if leaf.kind == "frames":
        yield _Row(name, values, counted(one.rows, "picture"))
    elif leaf.kind == "text":
        lines = [f"{step}  {_one_line(text)}" for step, text in one.texts[:_MOST_TEXTS]]
        if len(one.texts) == 1:
            lines = [_one_line(one.texts[0][1])]
        changes = max(len(one.texts) + one.omitted - 1, 0)
        if (more := len(one.texts) + one.omitted - len(lines)) > 0:
            lines.append(f"… {counted(more, 'further change')}")
        yield _Row(name, "text", counted(changes, "change") if changes else "no change", "\n".join(lines))
    elif leaf.kind == "other":
        yield _Row(name, values, "", _one_line(_text(one.first))[:_WIDEST] if one.rows else "")
    elif leaf.components == 1:
        (only,) = one.components
        yield _Row(name, values, _range(one, only), "", _over_steps(one, only, steps), leaf.kind == "flag")
    else:
        yield _Row(name, values, _bounds(one.minimum, one.maximum) if leaf.kind == "number" else "")
        indent = " " * (len(name) - len(name.lstrip()) + 2)
        for component in one.components:
            cells = f"{indent}[{component.label}]", "", _range(one, component)
            yield _Row(*cells, "", _over_steps(one, component, steps), leaf.kind == "flag")
        if one.omitted:
            yield _Row(f"{indent}…", "", "", f"{one.omitted} more: --leaf {_one_line(leaf.name)}")


def _over_steps(one: LeafOverview, component: ComponentOverview, steps: int) -> npt.NDArray[np.float64]:
    """Return the numbers by their joint step, so that all agents have the same axis."""
    if one.leaf.agent is None:
        return component.numbers
    series = np.full(steps + 1, np.nan)
    is_there = one.timesteps <= steps
    series[one.timesteps[is_there]] = component.numbers[is_there]
    return series


def _range(one: LeafOverview, component: ComponentOverview) -> str:
    if one.leaf.kind == "flag":
        return _steps_of("True", "never True", one.timesteps[component.numbers != 0])
    parts = [_bounds(component.minimum, component.maximum)]
    parts += [f"{component.nan} NaN"] if component.nan else []
    parts += [f"{component.infinite} infinite"] if component.infinite else []
    is_other = component.numbers != 0
    if one.leaf.components == 1 and 0 < is_other.sum() <= _MOST_STEPS < one.rows - _MOST_STEPS:
        parts.append(_steps_of("not 0", "", one.timesteps[is_other]))
    return ", ".join(filter(None, parts))


def _bounds(minimum: float | None, maximum: float | None) -> str:
    if minimum is None or maximum is None:
        return ""
    return short(minimum) if minimum == maximum else f"{short(minimum)} to {short(maximum)}"


def _steps_of(what: str, nothing: str, steps: npt.NDArray[np.int64]) -> str:
    if not len(steps):
        return nothing
    if len(steps) <= _MOST_STEPS:
        return f"{what} at {', '.join(map(str, steps.tolist()))}"
    return f"{what} at {len(steps)} from {steps[0]} to {steps[-1]}"


def _one_line_name(name: str) -> str:
    indent = name[: len(name) - len(name.lstrip())]
    return f"{indent}{_one_line(name)}"


def sparkline(
    values: npt.NDArray[np.float64],
    width: int,
    bounds: tuple[float, float] | None = None,
    *,
    ascii_only: bool = False,
) -> str:
    """Return a series as a line of bars; of several values below one bar, it is the extreme one.

    >>> sparkline(np.array([0.0, 1.0, 2.0, np.nan, 7.0]), 10)
    '▁▂▃ ▇'

    Args:
        values: shape (T,); those that are not finite are left blank.
        width: the greatest length of the line.
        bounds: the values of the lowest and the highest bar; by default those of the series.
        ascii_only: draw with characters of ASCII.
    """
    points = condensed(values, width)
    known = points[~np.isnan(points)]
    if not known.size:
        return " " * len(points)
    low, high = bounds or (float(known.min()), float(known.max()))
    levels = _ASCII_LEVELS if ascii_only else _LEVELS
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (points / 2 - low / 2) / (high / 2 - low / 2) if high > low else np.where(np.isnan(points), np.nan, 0)
    places = np.clip(np.nan_to_num(scaled) * len(levels), 0, len(levels) - 1).astype(np.int64)
    return "".join(
        " " if is_blank else levels[place]
        for place, is_blank in zip(places.tolist(), np.isnan(points).tolist(), strict=True)
    )


# Pictures


def _show_pictures(clip: Clip, way: Way, console: Console) -> None:
    """Print evenly spaced pictures of each camera in a row, with their steps below."""
    if way == "auto":
        is_terminal = console.is_terminal and not console.options.ascii_only
        way = supported(os.environ, has_sixel) if is_terminal else "none"
    if way == "none":
        console.print(Text("\n--save strip.png, --gif and --mp4 write the pictures to files.", style="dim"))
        return
    cell = cell_size()
    for name, layout in clip.cameras:
        grid = grid_for(layout.height, layout.width, console.width, len(clip), cell)
        steps, pictures = clip.spread(name, grid.number)
        console.print(Text(f"\n{_one_line(name)}", style="bold"))
        sys.stdout.flush()
        sys.stdout.write(drawn(pictures, grid, way, cell))
        sys.stdout.flush()
        labels = "".join(f"{step:<{grid.columns + 1}}" for step in steps.tolist())
        console.print(Text(labels.rstrip(), style="dim"), no_wrap=True, overflow="crop")


# JSON


def _as_json(reader: EpisodeReader, overviews: Sequence[LeafOverview]) -> dict[str, Any]:
    metadata = dict(reader.metadata)
    agents = {agent: _outcomes_as_json(reader.outcomes_of_agent(agent)) for agent in reader.agents}
    return {
        "dataset_id": reader.storage.dataset_id,
        "episode": reader.number,
        **_outcomes_as_json(reader.outcomes),
        "seed": metadata.pop("seed", None),
        "options": metadata.pop("options", None),
        "metadata": metadata,
        **({"agents": agents} if agents else {}),
        "leaves": [_leaf_as_json(one) for one in overviews],
    }


def _outcomes_as_json(outcomes: EpisodeOutcomes) -> dict[str, Any]:
    return {
        "length": outcomes.lengths[0],
        "return": outcomes.returns[0],
        "terminated": outcomes.terminated[0],
        "truncated": outcomes.truncated[0],
    }


def _leaf_as_json(one: LeafOverview) -> dict[str, Any]:
    leaf = one.leaf
    found: dict[str, Any] = {"name": leaf.name, "kind": leaf.kind, "dtype": leaf.dtype, "shape": leaf.shape}
    found |= {"agent": leaf.agent, "rows": one.rows}
    if leaf.kind == "number":
        components = [
            {"label": each.label, "min": each.minimum, "max": each.maximum, "nan": each.nan, "infinite": each.infinite}
            for each in one.components
        ]
        found |= {"min": one.minimum, "max": one.maximum, "components": components, "omitted": one.omitted}
    elif leaf.kind == "flag":
        true = [{"label": each.label, "true": one.timesteps[each.numbers != 0]} for each in one.components]
        found |= {"components": true, "omitted": one.omitted}
    elif leaf.kind == "text":
        found |= {"texts": [{"step": step, "text": text} for step, text in one.texts], "omitted": one.omitted}
    return found
