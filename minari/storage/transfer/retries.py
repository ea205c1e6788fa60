"""Asks again where a remote did not answer, for a while and with growing pauses."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from minari.errors import RemoteUnreachableError


__all__ = ["retrying"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ATTEMPTS = 5
_PATIENCE = 20.0  # seconds after which a failure is final, even when fewer attempts have been made
_FIRST_PAUSE = 0.2  # seconds; each pause is up to twice the one before
_LONGEST_WAIT = 60.0  # seconds: what a remote may ask to be left alone for


def retrying(call: Callable[[], T]) -> T:
    """What a call gives, which is made again when the remote is out of reach.

    Args:
        call: safe to make several times.

    Raises:
        RemoteUnreachableError: the remote was out of reach each time.
    """
    begun = time.monotonic()
    pause = _FIRST_PAUSE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return call()
        except RemoteUnreachableError as error:
            wanted = error.retry_after
            if attempt == _ATTEMPTS or time.monotonic() - begun > _PATIENCE or (wanted or 0.0) > _LONGEST_WAIT:
                raise
            _log.debug("attempt %d failed: %s", attempt, error)
            # Differs between the many that were turned away at the same moment.
            time.sleep(wanted if wanted is not None else pause * random.uniform(0.5, 1.0))
            pause *= 2
    raise AssertionError("unreachable: the last attempt returns or raises")
