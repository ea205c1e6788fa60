"""``minari recover``: datasets out of recordings that a killed program left behind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from minari.cli.running import UsageError
from minari.cli.terminal import show, tell
from minari.storage.datasets_root_dir import get_dataset_path, get_datasets_root
from minari.storage.recordings import Recording, list_recordings, recover_recording


__all__ = ["recover"]


def recover(name: str | None, dataset_id: str | None) -> None:
    """List the recordings, or make a dataset of one."""
    if name is not None and dataset_id is not None:
        dataset = recover_recording(name, dataset_id)
        tell(
            f"Dataset {dataset_id} recovered: {dataset.total_episodes} episodes, {dataset.total_steps} steps, "
            f"at {get_dataset_path(dataset_id)}"
        )
        return
    if name is not None or dataset_id is not None:
        raise UsageError("Recovering takes both the NAME of a recording and the --dataset-id to give it.")
    recordings = list_recordings()
    if not recordings:
        tell(f"There are no recordings to recover in {get_datasets_root()}.")
        return
    show(_recording_table(recordings))
    tell("To make a dataset of one: minari recover NAME --dataset-id ID. Programs that still run are listed too.")


def _recording_table(recordings: Sequence[Recording]) -> Table:
    lines = [
        (
            recording.name,
            recording.env_id or "–",
            str(recording.episodes),
            str(recording.steps),
            datetime.fromtimestamp(recording.modified).strftime("%Y-%m-%d %H:%M"),
        )
        for recording in recordings
    ]
    table = Table(title="Recordings that are no datasets yet")
    for column, header in enumerate(("Name", "Environment", "# Episodes", "# Steps", "Last written")):
        width = max([len(header), *(len(line[column]) for line in lines)])
        justify = "right" if header.startswith("#") else "left"
        table.add_column(header, justify=justify, min_width=width, no_wrap=True)  # type: ignore[arg-type]
    for line in lines:
        table.add_row(*line)
    return table
