"""Running of commands: loads the module of a command, and reports failures in one line.

The modules of commands are loaded only when their command runs, so that ``minari --help`` and errors in
options do not wait for unused libraries.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

import typer

from minari.cli.terminal import complain, printable
from minari.errors import MinariError


__all__ = ["UsageError", "carry_out", "for_each"]

T = TypeVar("T")

_INTERRUPTED = 130  # 128 plus the number of the signal, as in shells


class UsageError(MinariError, ValueError):
    """Options that contradict each other, or have an invalid value."""


def carry_out(module: str, function: str, /, **arguments: Any) -> None:
    """Call a function of one of the modules beside this one.

    Args:
        module: its name, without the package.
        function: its name.
        **arguments: what it is called with.

    Raises:
        typer.Exit: it failed, and that was said on standard error.
    """
    with _failures_told(), _warnings_told():
        getattr(import_module(f"minari.cli.{module}"), function)(**arguments)


def for_each(items: Iterable[T], action: Callable[[T], None]) -> None:
    """Call a function for each item, whether or not it fails for another.

    Raises:
        typer.Exit: it failed for one or several, and that was said on standard error.
    """
    worst = 0
    for item in items:
        try:
            with _failures_told():
                action(item)
        except typer.Exit as failed:
            if failed.exit_code == _INTERRUPTED:
                raise
            worst = max(worst, failed.exit_code)
    if worst:
        raise typer.Exit(worst)


@contextmanager
def _failures_told() -> Iterator[None]:
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise  # Typer ends the process properly for each of them.
    except KeyboardInterrupt:
        complain("Interrupted.")
        raise typer.Exit(_INTERRUPTED) from None
    except Exception as error:
        if os.environ.get("MINARI_DEBUG", "0") not in ("", "0"):
            raise
        complain(f"Error: {_sentence(error)}")
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, MinariError):
        return str(error)
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror or error}{place}"
    return f"{type(error).__name__}: {error} (this was not expected; MINARI_DEBUG=1 shows where it comes from)"


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Warnings as lines without the place in the code that they come from."""

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        # Gymnasium begins its own with a colored "WARN:".
        complain(f"Warning: {printable(str(message)).removeprefix('WARN: ')}")

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield
