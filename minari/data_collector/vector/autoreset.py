"""Modes in which the sub-environments of a vector environment are reset."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gymnasium.vector import VectorEnv

from minari._base.json_text import shortened
from minari.errors import ArgumentError


__all__ = ["AutoresetMode", "autoreset_mode"]

if TYPE_CHECKING:
    from gymnasium.vector import AutoresetMode
else:
    try:
        from gymnasium.vector import AutoresetMode
    except ImportError:  # before Gymnasium 1.1, whose environments do not name their mode

        class AutoresetMode(Enum):
            """The modes of Gymnasium 1.1."""

            NEXT_STEP = "NextStep"
            SAME_STEP = "SameStep"
            DISABLED = "Disabled"


def autoreset_mode(env: VectorEnv) -> AutoresetMode:
    """Return the mode that an environment names.

    Raises:
        ArgumentError: it names none.
    """
    mode = (env.metadata or {}).get("autoreset_mode")
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise ArgumentError(
            f"The autoreset mode of {env} is {shortened(mode)}, expected one of Gymnasium's, which says when a "
            f"sub-environment is reset; put AutoresetMode.NEXT_STEP, or the mode that applies, into env.metadata under "
            f"'autoreset_mode'."
        ) from None
