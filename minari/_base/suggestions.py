"""Suggestions for misspelled names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice


__all__ = ["closest", "did_you_mean"]

_LONGEST = 200  # maximum length of a compared name
_MOST = 5_000  # maximum number of compared names, to respond quickly


def closest(given: object, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most similar to the given one, None if none is.

    Args:
        given: the misspelled name.
        known: the valid names.
        likeness: minimum similarity, at most 1.
    """
    if not isinstance(given, str) or not 0 < len(given) <= _LONGEST:
        return None
    spellings = {name.casefold(): name for name in islice(known, _MOST) if len(name) <= _LONGEST}
    found = difflib.get_close_matches(given.casefold(), spellings, n=1, cutoff=likeness)
    return spellings[found[0]] if found else None


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return a question to append to a message, such as ``" Did you mean 'hdf5'?"``; empty if nothing is similar.

    >>> did_you_mean("hdf", ["arrow", "hdf5"])
    " Did you mean 'hdf5'?"
    >>> did_you_mean("other", ["arrow", "hdf5"])
    ''
    """
    found = closest(given, known)
    return "" if found is None or found == given else f" Did you mean {found!r}?"
