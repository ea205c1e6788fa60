"""Some consecutive steps of an episode, cut out of the whole."""

from __future__ import annotations

from typing import Any

from minari.errors import EpisodeIndexError


_WITH_FIRST_ROW = ("observations", "infos")  # T+1 rows; the other fields have T


def check_window(index: int, total_steps: int, start: int, stop: int) -> None:
    """See that an episode has these steps.

    Raises:
        EpisodeIndexError: it has not, or there is no step between start and stop.
    """
    if not 0 <= start < stop <= total_steps:
        raise EpisodeIndexError(
            f"Episode {index} has {total_steps} steps and no window from {start} to {stop}, expected "
            f"0 <= start < stop <= {total_steps}."
        )


def window_of(episode: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """The same fields with the steps from start to stop, and one observation and info more.

    >>> window_of({"id": 7, "observations": [0, 1, 2, 3], "rewards": [0.5, 1.5, 2.5]}, 1, 3)
    {'id': 7, 'observations': [1, 2, 3], 'rewards': [1.5, 2.5]}
    """
    return {
        name: values if name == "id" else _rows(values, start, stop + (name in _WITH_FIRST_ROW))
        for name, values in episode.items()
    }


def _rows(values: Any, start: int, stop: int) -> Any:
    if isinstance(values, dict):
        return {key: _rows(part, start, stop) for key, part in values.items()}
    if isinstance(values, tuple):
        return tuple(_rows(part, start, stop) for part in values)
    return values[start:stop]
