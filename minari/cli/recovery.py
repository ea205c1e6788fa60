"""Files that killed programs left behind: recordings become datasets, interrupted changes are completed or removed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from minari._base.lazy import LazyModule
from minari._base.settings import get_datasets_root
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._catalog.recordings import Recording, find_recording, list_recordings
from minari._model.dataset_id import DatasetId
from minari.cli.running import UsageError, confirm, for_each
from minari.cli.terminal import UNKNOWN, counted, echo, print_json, show
from minari.errors import DatasetBusyError, DatasetIdError
from minari.storage.cleaning import find_leftovers, remove
from minari.storage.local import recover_recording


if TYPE_CHECKING:
    import rich.table
else:
    rich = LazyModule("rich")


__all__ = ["clean", "list_in_progress", "recover"]

_NAMESPACE = "recovered"  # of datasets without an id of their own
_LONGEST = 40  # characters of a description in the table


def recover(
    name: str | None, dataset_id: str | None, every: bool, discard: str | None, root: str | None, without_asking: bool
) -> None:
    """List the recordings, recover one or all of them, or delete one."""
    given = [option for option, value in (("NAME", name), ("--all", every), ("--discard", discard)) if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are given, expected one of them; leave out the others.")
    if dataset_id is not None and name is None:
        reason = f"{given[0]} takes no --dataset-id" if given else "The NAME of a recording is missing"
        raise UsageError(f"{reason}; for one recording: minari recover NAME --dataset-id {dataset_id}.")
    if discard is not None:
        _discard(find_recording(discard, root), without_asking)
    elif every:
        _recover_all(root)
    elif name is not None:
        if dataset_id is None and name not in {recording.name for recording in list_recordings(root)}:
            raise UsageError(f"There is no recording {name!r}; `minari recover` lists those that exist.")
        _recover_one(find_recording(name, root), dataset_id, root)
    else:
        recordings = list_recordings(root)
        if not recordings:
            echo(f"There are no recordings to recover in {get_datasets_root(root)}.")
            return
        show(_recording_table("Recordings that are not datasets yet", recordings))
        echo("To make a dataset of one: minari recover NAME --dataset-id ID. Programs that still run are listed too.")


def list_in_progress(place: str, as_json: bool) -> None:
    """Print the recordings of running programs."""
    if place != "local":
        raise UsageError("--recordings shows what this machine records; give it with 'local'.")
    recordings = [recording for recording in list_recordings() if recording.is_in_progress]
    if as_json:
        print_json({recording.name: _as_json(recording) for recording in recordings})
        return
    if not recordings:
        echo(f"No program records to {get_datasets_root()} at this moment; `minari recover` lists what was left there.")
        return
    show(_recording_table("Recordings in progress", recordings))


def _recover_one(recording: Recording, dataset_id: str | None, root: str | None) -> None:
    wanted = dataset_id or recording.dataset_id
    if wanted is None:
        raise UsageError(
            f"Recovering takes both the NAME of a recording and the --dataset-id to give it, as the program gave none: "
            f"minari recover {shlex.quote(recording.name)} --dataset-id ID."
        )
    dataset = recover_recording(recording.name, wanted, root)
    episodes, steps = counted(dataset.total_episodes, "episode"), counted(dataset.total_steps, "step")
    echo(f"Dataset {wanted} recovered: {episodes}, {steps}, at {get_dataset_path(wanted, root=root)}")


def _recover_all(root: str | None) -> None:
    """Recover all recordings of programs that have ended, even if some of them fail."""
    recordings = list_recordings(root)
    ended = []
    for recording in recordings:
        if recording.is_in_progress:
            echo(f"The recording {recording.name} is {recording.status} and stays where it is.")
        elif not recording.episodes:
            echo(f"The recording {recording.name} holds no episode; minari recover --discard {recording.name}")
        elif recording.added_to is not None:
            echo(f"The recording {recording.name} is {recording.status}; minari recover --discard {recording.name}")
        else:
            ended.append(recording)
    if not recordings:
        echo(f"There are no recordings to recover in {get_datasets_root(root)}.")
    for_each(ended, lambda recording: _recover_one(recording, _free_id(recording, root), root))


def _free_id(recording: Recording, root: str | None) -> str:
    """Return the id that the program gave if it is free, or an id made from the name of the recording."""
    names: Iterable[str | None] = (recording.dataset_id, f"{_NAMESPACE}/{recording.name}-v0")
    for name in names:
        try:
            if name is not None and not dataset_exists(get_dataset_path(str(DatasetId.parse(name)), root=root)):
                return name
        except DatasetIdError:
            continue
    raise DatasetIdError(
        f"There is no free id for the recording {recording.name}; give it one: minari recover {recording.name} "
        f"--dataset-id ID."
    )


def _discard(recording: Recording, without_asking: bool) -> None:
    if recording.is_in_progress:
        raise DatasetBusyError(f"The recording {recording.name} is {recording.status}; end that program first.")
    show(_recording_table("Delete a recording", [recording]))
    if not without_asking:
        confirm("Are you sure you want to delete this recording?")
    recording.discard()
    echo(f"Recording {recording.name} deleted.")


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table of recordings.

    Attributes:
        header: title of the column.
        cell: returns the text for a recording.
        justify: alignment of the cells.
        is_optional: omit the column if all cells are empty.
        wraps: cells may have several lines.
    """

    header: str
    cell: Callable[[Recording], str]
    justify: Literal["left", "right"] = "left"
    is_optional: bool = False
    wraps: bool = False


def _state(recording: Recording) -> str:
    return f"{datetime.fromtimestamp(recording.modified):%Y-%m-%d %H:%M}, {recording.status}"


def _author(recording: Recording) -> str:
    authors = recording.description.get("author")
    return ", ".join(map(str, authors)) if isinstance(authors, list) and authors else UNKNOWN


def _about(recording: Recording) -> str:
    text = recording.description.get("description")
    line = " ".join(text.split()) if isinstance(text, str) and text else UNKNOWN
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


_COLUMNS = (
    _Column("Name", lambda recording: recording.name),
    _Column("Environment", lambda recording: recording.env_id or UNKNOWN),
    _Column("# Episodes", lambda recording: str(recording.episodes), "right"),
    _Column("# Steps", lambda recording: str(recording.steps), "right"),
    _Column("Last written, and state", _state, wraps=True),
    _Column("Dataset id", lambda recording: recording.dataset_id or UNKNOWN, is_optional=True),
    _Column("Author", _author, is_optional=True, wraps=True),
    _Column("About", _about, is_optional=True, wraps=True),
)


def _recording_table(title: str, recordings: Sequence[Recording]) -> rich.table.Table:
    table = rich.table.Table(title=title)
    shown = []
    for column in _COLUMNS:
        cells = [column.cell(recording) for recording in recordings]
        if not column.is_optional or set(cells) != {UNKNOWN}:
            width = len(column.header) if column.wraps else max(map(len, (column.header, *cells)))
            table.add_column(column.header, justify=column.justify, min_width=width, no_wrap=not column.wraps)
            shown.append(cells)
    for line in zip(*shown, strict=True):
        table.add_row(*line)
    return table


def _as_json(recording: Recording) -> dict[str, Any]:
    return {
        "env_id": recording.env_id,
        "episodes": recording.episodes,
        "steps": recording.steps,
        "modified": recording.modified,
        "state": recording.status,
        "pid": recording.state.pid,
        "dataset_id": recording.dataset_id,
    }


def clean(
    dataset_ids: Sequence[str] | None, dry_run: bool, root: str | None, without_asking: bool, discard_changes: bool
) -> None:
    """List the leftovers, and complete or remove them once the user confirms."""
    found = find_leftovers(dict.fromkeys(dataset_ids or ()), root=root, discard_changes=discard_changes)
    for leftover in found:
        echo(f"{leftover.path} ({leftover.size / 1e6:.1f} MB): {leftover.what}")
    if not found:
        echo(f"Nothing is left of killed programs in {get_datasets_root(root)}.")
    for recording in [] if dataset_ids else list_recordings(root):
        echo(
            f"The recording {recording.name} with {recording.episodes} episodes is kept: "
            f"minari recover {recording.name} --dataset-id ID"
        )
    if dry_run or not found:
        return
    if not without_asking:
        confirm("Are you sure you want to do this?")
    for_each(found, remove)
    echo(f"Cleaned {len(found)} of {len(found)}, {sum(leftover.size for leftover in found) / 1e6:.1f} MB.")
