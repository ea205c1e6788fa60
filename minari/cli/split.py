"""``minari split``: new datasets of the parts of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import minari
from minari._catalog.layout import get_dataset_path
from minari._model.dataset_id import DatasetId
from minari.cli.local_datasets import open_dataset
from minari.cli.progress import progress_bars
from minari.cli.running import UsageError
from minari.cli.terminal import counted, echo
from minari.dataset.split import save_parts


__all__ = ["split"]

Number = TypeVar("Number", int, float)


def split(
    dataset: str,
    fractions: str | None,
    sizes: str | None,
    by: Literal["episode", "return"],
    seed: int | None,
    new_ids: Sequence[str] | None,
    quiet: bool,
) -> None:
    """Split a dataset into new ones, all or none of which appear."""
    if (fractions is None) == (sizes is None):
        raise UsageError("Give one of --fractions, such as 0.8,0.2, and --sizes, such as 100,20.")
    chosen: list[Any] = (
        _numbers("--sizes", sizes, int) if fractions is None else _numbers("--fractions", fractions, float)
    )
    if by == "return" and seed is not None:
        raise UsageError("--by return draws nothing at random; leave out --seed.")
    if new_ids and len(new_ids) != len(chosen):
        raise UsageError(
            f"--as gives {counted(len(new_ids), 'id')} for {counted(len(chosen), 'part')}; give it once for each part."
        )
    whole = open_dataset(dataset)
    ids = list(new_ids) if new_ids else _default_ids(whole.id, len(chosen))
    with progress_bars(quiet=quiet):
        parts = minari.split_dataset(whole, chosen, seed, by=by)
        origin = {"by": by, "fractions" if fractions is not None else "sizes": chosen}
        new = save_parts(parts, ids, origin if seed is None else {**origin, "seed": seed})
    for number, (new_id, part) in enumerate(zip(ids, new, strict=True), 1):
        episodes, steps = counted(part.total_episodes, "episode"), counted(part.total_steps, "step")
        place = get_dataset_path(new_id)
        echo(f"Dataset {new_id} is part {number} of {len(new)} of {whole.id}: {episodes}, {steps}, at {place}")
    left = len(whole) - sum(map(len, new))
    if left:
        echo(f"{counted(left, 'episode')} of {whole.id} {'is' if left == 1 else 'are'} in no part.")


def _numbers(option: str, text: str | None, kind: Callable[[str], Number]) -> list[Number]:
    """Return the numbers in the value of an option.

    Raises:
        UsageError: it has something else.
    """
    try:
        return [kind(part) for part in (text or "").split(",")]
    except ValueError:
        example = "0.8,0.2" if kind is float else "100,20"
        raise UsageError(
            f"{option} is {text!r}, expected numbers with commas between them, such as {example}."
        ) from None


def _default_ids(dataset_id: str, count: int) -> list[str]:
    parsed = DatasetId.parse(dataset_id)
    return [
        str(DatasetId(parsed.namespace, f"{parsed.name}-part{number}", parsed.version))
        for number in range(1, count + 1)
    ]
