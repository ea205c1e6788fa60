"""Windows: sub-trajectories of a fixed number of steps, or rows at given offsets, as a flat sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._model.arguments import checked_count
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.errors import ArgumentError, ArgumentTypeError
from minari.sampling.fields import NEXT_OBSERVATIONS, Part, Positions
from minari.sampling.nested import Fields
from minari.sampling.row_cache import CACHE_BYTES, CacheKind
from minari.sampling.samples import Draw, Samples


__all__ = ["Windows"]

Pad = Literal["left", "right"]
PadValue = Literal["zero", "edge"]


class Windows(Samples):
    """The windows of the episodes of a dataset or view, in order; see :meth:`minari.MinariDataset.windows`.

    A flat sequence of batches: ``w[3]`` is one window, ``w[[5, 1, 1]]`` a batch of three. It can be pickled, and
    used from threads and from forked and spawned processes.

    Args:
        storage: of the dataset.
        numbers: the episodes of the view.
        length, stride, pad, pad_value, fields, discount, returns_to_go, final_observation, infos, offsets: see
            :meth:`minari.MinariDataset.windows`.
        cache, cache_bytes: see :meth:`minari.MinariDataset.windows`.
    """

    KIND: ClassVar[str] = "window"

    def __init__(
        self,
        storage: MinariStorage,
        numbers: npt.ArrayLike,
        length: int | None = None,
        *,
        stride: int = 1,
        pad: Pad | None = None,
        pad_value: PadValue = "zero",
        fields: Iterable[str] | None = None,
        discount: float = 1.0,
        returns_to_go: bool = False,
        final_observation: bool = False,
        infos: Iterable[str] = (),
        offsets: Mapping[str, Iterable[int]] | None = None,
        cache: CacheKind | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if pad not in (None, "left", "right"):
            raise ArgumentError(f"pad is {shortened(pad)}, expected None, 'left' or 'right'.")
        if pad_value not in ("zero", "edge"):
            raise ArgumentError(f"pad_value is {shortened(pad_value)}, expected 'zero' or 'edge'.")
        if (length is None) == (offsets is None):
            raise ArgumentError(
                f"length is {length} and offsets is {shortened(offsets)}, expected one of them: a number of steps, or "
                f"the rows of each field around a step."
            )
        self._length = None if length is None else checked_count("length", length)
        self._stride, self._pad, self._repeats = checked_count("stride", stride), pad, pad_value == "edge"
        self._with_final = bool(final_observation)
        self._offsets = None if offsets is None else checked_offsets(offsets)
        if self._offsets is not None and (fields is not None or pad is not None or final_observation):
            raise ArgumentError(
                "fields, pad and final_observation go with length; with offsets, name the fields there."
            )
        super().__init__(storage, numbers, fields, infos, discount, returns_to_go, cache, cache_bytes)
        self._window_starts = self._count_windows()
        if not len(self):
            longest = int(self._reader.table.lengths.max())
            raise ArgumentError(
                f"length is {length} and the longest episode has {longest} steps, so that there is no whole window; "
                f"give a smaller length, or pad='left' or 'right'."
            )

    def _count_windows(self) -> Positions:
        lengths = self._reader.table.lengths
        if self._length is not None and self._pad is None:
            counts = np.maximum((lengths - self._length) // self._stride + 1, 0)
        else:
            counts = -(-lengths // self._stride)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def _default_fields(self) -> tuple[str, ...]:
        if self._offsets is not None:
            return tuple(self._offsets)
        names = super()._default_fields()
        return tuple(name for name in names if name != NEXT_OBSERVATIONS) if self._with_final else names

    def __len__(self) -> int:
        return int(self._window_starts[-1])

    def __repr__(self) -> str:
        what = f"length={self._length}" if self._offsets is None else f"offsets={self._offsets}"
        return f"Windows({self._reader.storage.dataset_id!r}, {len(self)} windows, {what}, fields={self._names})"

    def _prepare(self) -> None:
        super()._prepare()
        self._spans = {name: self._span_of(name) for name in self._names if name not in ("episode_ids", "timesteps")}
        length = self._length or 1
        self._steps_span = Span(np.arange(length))
        self._next_span = Span(np.arange(1, length + 1), 1)

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_spans", "_steps_span", "_next_span")
        return {name: value for name, value in super().__getstate__().items() if name not in derived}

    def _span_of(self, name: str) -> Span:
        field = name.partition("/")[0]
        if self._offsets is not None:
            shift = int(field == NEXT_OBSERVATIONS)
            return Span(self._offsets[name] + shift, shift, int(field == "observations"))
        length = self._length or 1
        if field == NEXT_OBSERVATIONS:
            return Span(np.arange(1, length + 1), 1)
        final = int(self._with_final and field == "observations")
        return Span(np.arange(length + final), 0, final)

    def locate(self, indices: Positions) -> tuple[Positions, Positions]:
        """Return the position of the episode of each window, and its first step, negative if padding comes first."""
        positions = self._window_starts.searchsorted(indices, "right") - 1
        steps = (indices - self._window_starts[positions]) * self._stride
        return positions, steps - (self._steps_span.count - 1) if self._pad == "left" else steps

    def _read(self, indices: Positions, out: Fields | None = None, draw: Draw | None = None) -> Fields:
        table = self._reader.table
        positions, steps = self.locate(indices)
        last = table.lengths[positions] - 1
        spans = {name: span.rows(steps, last) for name, span in self._spans.items()}
        episodes = table.numbers[positions]
        wanted: dict[str, list[tuple[Part, RowRequest]]] = {}
        for name, found in spans.items():
            tree = self._trees.get(name)
            parts = [self._outcomes[name]] if tree is None else tree.parts
            outs = [None] if tree is None else tree.outs(None if out is None else out.get(name))
            pairs = zip(parts, outs, strict=True)
            wanted[name] = [part.at(episodes, found.rows, found.length, one) for part, one in pairs]
        batch = self._nested(wanted)
        for name in ("terminations", "truncations"):
            if name in batch:
                batch[name] = batch[name].astype(bool, copy=False)
        for name, found in spans.items():
            if found.mask is not None:
                batch[name] = self._filled(batch[name], found.mask)
        if self._offsets is None:
            return self._with_steps(batch, positions, episodes, steps, last)
        for name, found in spans.items():
            batch[f"{name}_mask"] = found.whole_mask()
        batch["episode_ids"], batch["timesteps"] = episodes, steps
        if self._returns is not None:
            batch["returns_to_go"] = self._returns.of(positions, steps)
        if self._infos:
            batch["infos"] = {name: self._reader.infos(name, episodes, steps) for name in self._infos}
            batch["next_infos"] = {name: self._reader.infos(name, episodes, steps + 1) for name in self._infos}
        return batch

    def episode_positions(self) -> Positions:
        """Return the position of the episode of each window, shape (N,)."""
        counts = np.diff(self._window_starts)
        return np.repeat(np.arange(len(counts)), counts)

    def fingerprint(self) -> str:
        """Return a text that differs for other episodes or other windows of them."""
        return f"{super().fingerprint()}, length {self._length}, stride {self._stride}, pad {self._pad}"

    def _with_steps(
        self, batch: Fields, positions: Positions, episodes: Positions, steps: Positions, last: Positions
    ) -> Fields:
        """Add what each step of a window has besides its stored values."""
        found = self._steps_span.rows(steps, last)
        rows, mask = found.all_rows(), found.mask
        batch["episode_ids"] = np.repeat(episodes[:, None], rows.shape[1], axis=1)
        batch["timesteps"] = rows if mask is None else self._filled(rows.copy(), mask)
        batch = {name: batch[name] for name in self._names}
        if self._returns is not None:
            batch["returns_to_go"] = self._returns.of(positions, rows)
            if mask is not None:
                batch["returns_to_go"] = self._filled(batch["returns_to_go"], mask)
        if self._infos:
            for key, span in (("infos", self._steps_span), ("next_infos", self._next_span)):
                at = span.rows(steps, last)
                values = {name: self._reader.infos(name, episodes, at.all_rows()) for name in self._infos}
                batch[key] = values if at.mask is None else self._filled(values, at.mask)
        batch["mask"] = found.whole_mask()
        return batch

    def _filled(self, values: Any, mask: npt.NDArray[np.bool_]) -> Any:
        """Return values with zeros where the mask is False, unless the nearest row is repeated there."""
        if self._repeats:
            return values
        if isinstance(values, dict):
            return {key: self._filled(inner, mask) for key, inner in values.items()}
        if isinstance(values, tuple):
            return tuple(self._filled(inner, mask) for inner in values)
        if isinstance(values, np.ndarray):
            values[~mask] = 0
            return values
        if values is None:
            return None
        pairs = ((row, present) for row, present in zip(values, mask.tolist(), strict=True))
        return [
            [
                value if there else "" if isinstance(value, str) else None
                for value, there in zip(row, present, strict=True)
            ]
            for row, present in pairs
        ]


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Rows of a field for each window of a batch.

    Attributes:
        rows: their numbers, shape (B, count), or that of the first, shape (B,), where they are consecutive.
        length: their number where only the first is given, None otherwise.
        mask: True for rows that exist; None if all do. The numbers of others are those of the nearest one.
        count: the number of rows of a window.
    """

    rows: Positions
    length: int | None
    mask: npt.NDArray[np.bool_] | None
    count: int

    def all_rows(self) -> Positions:
        """Return the numbers of all rows, shape (B, count)."""
        return self.rows if self.length is None else self.rows[:, None] + np.arange(self.length)

    def whole_mask(self) -> npt.NDArray[np.bool_]:
        """Return the mask as an array, shape (B, count)."""
        return np.ones((len(self.rows), self.count), bool) if self.mask is None else self.mask


class Span:
    """The rows of a field around a step.

    Args:
        offsets: of the rows from the step.
        first: the number of the first row that counts, 0 or 1.
        more: the number of rows that count after that of the last step, if ``first`` is 0.
    """

    def __init__(self, offsets: Positions, first: int = 0, more: int = 0) -> None:
        self._offsets, self._first, self._more = offsets, first, first + more
        self.count = len(offsets)
        self._is_consecutive = bool((np.diff(offsets) == 1).all())

    def rows(self, steps: Positions, last: Positions) -> FoundRows:
        """Return the rows around some steps.

        Args:
            steps: the steps, which may lie outside their episodes.
            last: the last step of the episode of each.
        """
        begin, end = steps + self._offsets.min(), steps + self._offsets.max()
        least, most = self._first, last + self._more
        if len(steps) and begin.min() >= least and (end <= most).all():
            if self._is_consecutive:
                return FoundRows(begin, self.count, None, self.count)
            return FoundRows(steps[:, None] + self._offsets, None, None, self.count)
        rows = steps[:, None] + self._offsets
        mask = (rows >= least) & (rows <= most[:, None])
        return FoundRows(np.clip(rows, least, most[:, None]), None, mask, self.count)


def checked_offsets(offsets: object) -> dict[str, Positions]:
    """Return the offsets of each field.

    Raises:
        ArgumentTypeError: they are not a dict of lists of ints.
        ArgumentError: there are none.
    """
    if not isinstance(offsets, Mapping):
        raise ArgumentTypeError(f"offsets is {shortened(offsets)}, expected a dict of a list of ints for each field.")
    checked = {}
    for name, given in offsets.items():
        several = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [given]
        for one in several:
            if isinstance(one, (bool, np.bool_)) or not isinstance(one, (int, np.integer)):
                raise ArgumentTypeError(f"The offsets of {name!r} hold {shortened(one)}, expected a list of ints.")
        if not several or not isinstance(given, Iterable):
            raise ArgumentTypeError(f"The offsets of {name!r} are {shortened(given)}, expected a list of ints.")
        checked[name] = np.array(several, np.int64)
    if not checked:
        raise ArgumentError("offsets is empty, expected a list of ints for at least one field.")
    return checked
