"""Stable-Baselines3: its files of replay buffers are pickles, which are recognized and refused.

A pickle can run any program while it is read, so it is never read. Load the buffer with Stable-Baselines3 in a program
that trusts the file, and give it to :mod:`minari.integrations.sb3`.
"""

from __future__ import annotations

from pathlib import Path

from minari.errors import InterchangeError
from minari.interchange.format import Format, Source
from minari.interchange.pickle_files import is_pickle_of


__all__ = ["SB3"]


class SB3(Format):
    """Format of the replay buffers of Stable-Baselines3, which is refused."""

    NAME = "sb3"
    IS_REFUSED = True

    def sniff(self, path: Path) -> bool:
        """Return whether a file is a pickle of the library."""
        return is_pickle_of(path, "stable_baselines3")

    def read(self, path: Path) -> Source:
        """Refuse a file.

        Raises:
            InterchangeError: always.
        """
        raise InterchangeError(
            f"{path} is a pickle, which is not read, as it could run any program; load it with Stable-Baselines3 "
            f"yourself if you trust it, and convert the live buffer with minari.integrations.sb3.from_replay_buffer."
        )
