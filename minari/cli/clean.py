"""``minari clean``: what killed programs have left, completed or removed."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from minari._base.settings import get_datasets_root
from minari._catalog.recordings import list_recordings
from minari.cli.running import for_each
from minari.cli.terminal import tell
from minari.storage.cleaning import find_leftovers, remove


__all__ = ["clean"]


def clean(
    dataset_ids: Sequence[str] | None, dry_run: bool, root: str | None, without_asking: bool, discard_changes: bool
) -> None:
    """Show what is left, and complete or remove it when the user agrees."""
    found = find_leftovers(dict.fromkeys(dataset_ids or ()), root=root, discard_changes=discard_changes)
    for leftover in found:
        tell(f"{leftover.path} ({leftover.size / 1e6:.1f} MB): {leftover.what}")
    if not found:
        tell(f"Nothing is left of killed programs in {get_datasets_root(root)}.")
    for recording in [] if dataset_ids else list_recordings(root):
        tell(
            f"The recording {recording.name} with {recording.episodes} episodes is kept: "
            f"minari recover {recording.name} --dataset-id ID"
        )
    if dry_run or not found:
        return
    if not without_asking:
        typer.confirm("Are you sure you want to do this?", abort=True)
    for_each(found, remove)
    tell(f"Cleaned {len(found)} of {len(found)}, {sum(leftover.size for leftover in found) / 1e6:.1f} MB.")
