"""What somebody may have meant who mistyped a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice


__all__ = ["closest", "did_you_mean"]

_LONGEST = 200  # characters of a name that is compared
_MOST = 5_000  # names that one is compared with, so that a message does not take seconds


def closest(given: object, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most like the given one, None where none is like it.

    Args:
        given: what was typed.
        known: the names that would have been right.
        likeness: how much alike two names are at least, 1 being the same.
    """
    if not isinstance(given, str) or not 0 < len(given) <= _LONGEST:
        return None
    spellings = {name.casefold(): name for name in islice(known, _MOST) if len(name) <= _LONGEST}
    found = difflib.get_close_matches(given.casefold(), spellings, n=1, cutoff=likeness)
    return spellings[found[0]] if found else None


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return a question to append to a message, such as ``" Did you mean 'hdf5'?"``; empty where nothing is close.

    >>> did_you_mean("hdf", ["arrow", "hdf5"])
    " Did you mean 'hdf5'?"
    >>> did_you_mean("other", ["arrow", "hdf5"])
    ''
    """
    found = closest(given, known)
    return "" if found is None or found == given else f" Did you mean {found!r}?"
