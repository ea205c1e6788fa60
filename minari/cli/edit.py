"""``minari edit``: changes of metadata, episodes and fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import minari
from minari._base.json_text import parse_json, shortened
from minari.cli.local_datasets import find_dataset
from minari.cli.options import parse_episodes
from minari.cli.progress import progress_bars
from minari.cli.running import UsageError, confirm
from minari.cli.terminal import counted, echo, print_json
from minari.dataset.condition import FLAGS, NAMES
from minari.dataset.edit import EditReport
from minari.dataset.minari_storage import MinariStorage


__all__ = ["Wanted", "edit"]


@dataclass(frozen=True)
class Wanted:
    """The options that say what to change, as they were given."""

    set_metadata: Sequence[str] | None
    remove_metadata: Sequence[str] | None
    drop_episodes: str | None
    keep: str | None
    drop_fields: Sequence[str] | None
    rename_fields: Sequence[str] | None
    episode_metadata: Sequence[tuple[str, str]] | None
    remove_episode_metadata: Sequence[str] | None

    @property
    def is_nothing(self) -> bool:
        """Return whether no option is given."""
        return all(getattr(self, each.name) is None for each in fields(self))

    @property
    def drops_data(self) -> bool:
        """Return whether episodes or fields are to be dropped."""
        return self.drop_episodes is not None or self.keep is not None or bool(self.drop_fields)

    def arguments(self, total: int) -> dict[str, Any]:
        """Return the arguments of :func:`minari.edit_dataset`.

        Args:
            total: the number of episodes, since a range may name any number.

        Raises:
            UsageError: an option has an invalid value.
        """
        of_episodes: dict[int, dict[str, Any]] = {}
        for numbers, pair in self.episode_metadata or ():
            for number in parse_episodes("--set-episode", numbers, total):
                of_episodes.setdefault(number, {}).update(_parse_pairs("--set-episode", [pair]))
        dropped = self.drop_episodes
        return {
            "set_metadata": _parse_pairs("--set", self.set_metadata),
            "remove_metadata": self.remove_metadata or (),
            "drop_episodes": [] if dropped is None else parse_episodes("--drop-episodes", dropped, total),
            "keep": self.keep,
            "drop_fields": self.drop_fields or (),
            "rename_fields": _parse_names("--rename-field", self.rename_fields),
            "episode_metadata": of_episodes,
            "remove_episode_metadata": self.remove_episode_metadata or (),
        }


def edit(
    dataset: str, wanted: Wanted, new_id: str | None, dry_run: bool, without_asking: bool, as_json: bool, quiet: bool
) -> None:
    """Edit a dataset, once the user confirms where data would be lost."""
    if wanted.is_nothing and new_id is None:
        raise UsageError("Give at least one change, such as --set KEY=VALUE, --drop-episodes or --drop-field.")
    if wanted.keep is not None and wanted.keep.strip() in NAMES and wanted.keep.strip() not in FLAGS:
        raise UsageError(
            f"--keep is {shortened(wanted.keep)}, which is not a condition; put the whole condition in quotes, as in "
            f"--keep 'return > 100'."
        )
    asks = not (dry_run or without_asking or new_id is not None) and wanted.drops_data
    with progress_bars(quiet=quiet):
        if asks:
            asks = _ask(_edited(dataset, wanted, new_id, dry_run=True), err=as_json)
        report = _edited(dataset, wanted, new_id, dry_run)
    if as_json:
        print_json(report.as_dict())
        return
    for line in _lines(report)[: 1 if asks else None]:
        echo(line)


def _edited(dataset: str, wanted: Wanted, new_id: str | None, dry_run: bool) -> EditReport[Any]:
    total = MinariStorage.read(find_dataset(dataset)).total_episodes
    return minari.edit_dataset(dataset, new_dataset_id=new_id, dry_run=dry_run, **wanted.arguments(total))


def _ask(report: EditReport[Any], err: bool) -> bool:
    """Ask whether data may be lost; return False if none would be."""
    if not report.drops_data:
        return False
    echo(f"What is dropped from {report.dataset_id} cannot be restored:", err=err)
    for sentence in report.sentences:
        echo(f"  {sentence}", err=err)
    confirm("Are you sure you want to edit it in place?", err=err)
    return True


def _lines(report: EditReport[Any]) -> list[str]:
    what = f"{counted(report.episodes_after, 'episode')}, {counted(report.steps_after, 'step')}"
    sentences = [f"  {sentence}" for sentence in report.sentences]
    if report.dataset is None:
        name = report.new_dataset_id or report.dataset_id
        return [f"Dataset {name} would have {what}; nothing was changed.", *sentences]
    place = report.dataset.storage.data_path.parent
    if report.new_dataset_id is not None:
        return [f"Dataset {report.new_dataset_id} made from {report.dataset_id}: {what}, at {place}", *sentences]
    if not sentences:
        return [f"Dataset {report.dataset_id} is like that already: {what}; nothing was changed."]
    return [f"Dataset {report.dataset_id} edited: {what}, at {place}", *sentences]


def _parse_pairs(option: str, texts: Iterable[str] | None) -> dict[str, Any]:
    """Return keys and values of ``KEY=VALUE``; a value is JSON if it is valid JSON, and otherwise text."""
    return {key: _parse_value(option, key, value) for key, value in _split(option, texts, "KEY=VALUE").items()}


def _parse_names(option: str, texts: Iterable[str] | None) -> dict[str, str]:
    return _split(option, texts, "OLD=NEW")


def _split(option: str, texts: Iterable[str] | None, form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} is {shortened(text)}, expected {form}.")
        if key != key.strip():
            raise UsageError(f"{option} is {shortened(text)}, expected {form} without spaces around the '='.")
        if key in found:
            several = ', or a list such as \'author=["Ada", "Grace"]\'' if form == "KEY=VALUE" else ""
            raise UsageError(f"{option} gives {shortened(key)} twice, expected it once{several}.")
        found[key] = value
    return found


def _parse_value(option: str, key: str, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        if text[:1] + text[-1:] in ("[]", "{}"):  # such as a list with the quotes of Python, or without any
            raise UsageError(
                f"{option} gives {shortened(key)} the value {shortened(text)}, which is not valid JSON; text in a list "
                f'needs double quotes, and single quotes around the whole, as in \'author=["Ada", "Grace"]\'.'
            ) from error
        return text
