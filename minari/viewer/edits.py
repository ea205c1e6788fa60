"""Changes that the page makes: marks in the metadata of episodes, and episodes that are dropped."""

from __future__ import annotations

from typing import Any, Final

from minari.dataset.edit import EditReport, edit_dataset
from minari.dataset.minari_dataset import MinariDataset
from minari.viewer.answers import cut, plain
from minari.viewer.opened import Opened, Places
from minari.viewer.requests import Body


__all__ = ["DROP", "MARK", "drop", "dry_run", "mark", "sentences"]

#: Keys of the bodies.
MARK: Final = ("dataset", "revision", "episodes", "key", "value")
DROP: Final = ("dataset", "revision", "episodes", "confirm", "new_dataset_id")

_PATIENCE: Final = 5.0  # seconds to wait for another writer

Report = EditReport[MinariDataset]


def mark(opened: Opened, body: Body) -> Report:
    """Set a key in the metadata of episodes, in place; null stands for no value.

    The key itself stays, since removing it would write the whole dataset again.
    """
    metadata = {body.text("key", "mark"): body.value("value")}
    changes = dict.fromkeys(body.numbers("episodes"), metadata)
    return edit_dataset(opened.dataset, episode_metadata=changes, lock_timeout=_PATIENCE)


def dry_run(opened: Opened, body: Body, places: Places) -> dict[str, Any]:
    """Return what dropping episodes would do."""
    report = _dropped(opened, body, places, dry_run=True)
    return {
        "report": sentences(report),
        "episodes_after": plain(report.episodes_after),
        "steps_after": plain(report.steps_after),
        "size_before": plain(report.size_before),
    }


def drop(opened: Opened, body: Body, places: Places) -> Report:
    """Drop episodes, in place or in a new dataset."""
    return _dropped(opened, body, places, dry_run=False)


def _dropped(opened: Opened, body: Body, places: Places, *, dry_run: bool) -> Report:
    return edit_dataset(
        opened.dataset,
        drop_episodes=body.numbers("episodes"),
        new_dataset_id=body.text_or_null("new_dataset_id"),
        dry_run=dry_run,
        root=places.root,
        lock_timeout=_PATIENCE,
    )


def sentences(report: Report) -> list[str]:
    """Return the sentences of a report."""
    return [cut(sentence) for sentence in report.sentences]
