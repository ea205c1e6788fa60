"""``minari recover``: datasets out of recordings that a program left behind."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import typer
from rich.table import Table

from minari._base.settings import get_datasets_root
from minari._catalog.layout import dataset_exists, get_dataset_path
from minari._catalog.recordings import Recording, find_recording, list_recordings
from minari._model.dataset_id import DatasetId
from minari.cli.running import UsageError, for_each
from minari.cli.terminal import counted, show, tell
from minari.errors import DatasetBusyError, DatasetIdError
from minari.storage.local import recover_recording


__all__ = ["list_in_progress", "recover"]

_NAMESPACE = "recovered"  # of datasets that nobody gave an id
_LONGEST = 40  # letters of a description in a list
_NOTHING = "–"
_HEADERS = ("Name", "Environment", "# Episodes", "# Steps", "Last written, and state", "Dataset id", "Author", "About")
_MAY_BE_MISSING = frozenset({"Dataset id", "Author", "About"})
_WRAPPED = frozenset({"Last written, and state", "Author", "About"})


def recover(
    name: str | None, dataset_id: str | None, every: bool, discard: str | None, root: str | None, without_asking: bool
) -> None:
    """List the recordings, make datasets of one or all of them, or delete one."""
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
        _list(root)


def list_in_progress(place: str, as_json: bool) -> None:
    """Print the recordings of programs that are alive."""
    if place != "local":
        raise UsageError("--recordings shows what this machine records; give it with 'local'.")
    recordings = [recording for recording in list_recordings() if recording.is_in_progress]
    if as_json:
        print(json.dumps({recording.name: _as_json(recording) for recording in recordings}, indent=2))
        return
    if not recordings:
        tell(f"No program records to {get_datasets_root()} at this moment; `minari recover` lists what was left there.")
        return
    show(_recording_table("Recordings in progress", recordings))


def _list(root: str | None) -> None:
    recordings = list_recordings(root)
    if not recordings:
        tell(f"There are no recordings to recover in {get_datasets_root(root)}.")
        return
    show(_recording_table("Recordings that are not datasets yet", recordings))
    tell("To make a dataset of one: minari recover NAME --dataset-id ID. Programs that still run are listed too.")


def _recover_one(recording: Recording, dataset_id: str | None, root: str | None) -> None:
    wanted = dataset_id or recording.dataset_id
    if wanted is None:
        raise UsageError(
            f"Recovering takes both the NAME of a recording and the --dataset-id to give it, as the program gave none: "
            f"minari recover {shlex.quote(recording.name)} --dataset-id ID."
        )
    dataset = recover_recording(recording.name, wanted, root)
    episodes, steps = counted(dataset.total_episodes, "episode"), counted(dataset.total_steps, "step")
    tell(f"Dataset {wanted} recovered: {episodes}, {steps}, at {get_dataset_path(wanted, root=root)}")


def _recover_all(root: str | None) -> None:
    """Make datasets of all recordings of programs that have ended, whether or not it fails for some."""
    recordings = list_recordings(root)
    ended = []
    for recording in recordings:
        if recording.is_in_progress:
            tell(f"The recording {recording.name} is {recording.status} and stays where it is.")
        elif not recording.episodes:
            tell(f"The recording {recording.name} holds no episode; minari recover --discard {recording.name}")
        elif recording.added_to is not None:
            tell(f"The recording {recording.name} is {recording.status}; minari recover --discard {recording.name}")
        else:
            ended.append(recording)
    if not recordings:
        tell(f"There are no recordings to recover in {get_datasets_root(root)}.")
    for_each(ended, lambda recording: _recover_one(recording, _free_id(recording, root), root))


def _free_id(recording: Recording, root: str | None) -> str:
    """The id that the program gave, where it is still free; else one made of the name of the recording."""
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
        typer.confirm("Are you sure you want to delete this recording?", abort=True)
    recording.discard()
    tell(f"Recording {recording.name} deleted.")


def _recording_table(title: str, recordings: Sequence[Recording]) -> Table:
    rows = [_line(recording) for recording in recordings]
    columns = zip(*rows, strict=True)
    table = Table(title=title)
    shown = []
    for header, column in zip(_HEADERS, columns, strict=True):
        if header in _MAY_BE_MISSING and set(column) == {_NOTHING}:
            continue
        wraps = header in _WRAPPED
        width = len(header) if wraps else max(map(len, (header, *column)))
        justify: Literal["left", "right"] = "right" if header.startswith("#") else "left"
        table.add_column(header, justify=justify, min_width=width, no_wrap=not wraps)
        shown.append(column)
    for line in zip(*shown, strict=True):
        table.add_row(*line)
    return table


def _line(recording: Recording) -> tuple[str, ...]:
    said = recording.description
    authors = said.get("author")
    about = said.get("description")
    return (
        recording.name,
        recording.env_id or _NOTHING,
        str(recording.episodes),
        str(recording.steps),
        f"{datetime.fromtimestamp(recording.modified):%Y-%m-%d %H:%M}, {recording.status}",
        recording.dataset_id or _NOTHING,
        ", ".join(map(str, authors)) if isinstance(authors, list) and authors else _NOTHING,
        _cut(about) if isinstance(about, str) and about else _NOTHING,
    )


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


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
