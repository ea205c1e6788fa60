"""Runs a command, and reports what goes wrong in one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import typer

from minari.cli.terminal import echo, printable, warn
from minari.errors import MinariError


__all__ = ["UsageError", "confirm", "for_each", "run_command"]

T = TypeVar("T")
Result = TypeVar("Result")

_INTERRUPTED = 130  # 128 plus the number of the signal, as in shells


class UsageError(MinariError, ValueError):
    """Options that contradict each other, or have an invalid value."""


def run_command(command: Callable[[], Result]) -> Result:
    """Call a function, with a line on standard error for its failure and for each warning.

    Raises:
        typer.Exit: it failed, which has been reported.
    """
    with _failures_as_lines(), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return command()


def for_each(items: Iterable[T], action: Callable[[T], None]) -> None:
    """Call a function for each item, whether or not it fails for another.

    Raises:
        typer.Exit: it failed for one or several, which has been reported.
    """
    worst = 0
    for item in items:
        try:
            with _failures_as_lines():
                action(item)
        except typer.Exit as failed:
            if failed.exit_code == _INTERRUPTED:
                raise
            worst = max(worst, failed.exit_code)
    if worst:
        raise typer.Exit(worst)


def confirm(question: str, *, err: bool = False) -> None:
    """Ask a question, and end the command unless the answer is yes.

    Args:
        question: the question.
        err: whether it is asked on standard error.

    Raises:
        typer.Abort: the answer is no, or Ctrl-C.
        MinariError: there is no answer, as in a script without a terminal.
    """
    try:
        agreed = typer.confirm(question, err=err)
    except typer.Abort as aborted:
        if not isinstance(aborted.__context__, EOFError) or sys.stdin.isatty():
            raise
        echo("", err=err)
        raise MinariError(
            "Nothing was changed, since there is no answer on standard input; --yes skips the question."
        ) from None
    if not agreed:
        raise typer.Abort


@contextmanager
def _failures_as_lines() -> Iterator[None]:
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise  # Typer ends the process properly for each of them.
    except KeyboardInterrupt:
        echo("Interrupted.", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    except Exception as error:
        if os.environ.get("MINARI_DEBUG", "0") not in ("", "0"):
            raise
        echo(f"Error: {_sentence(error)}", err=True, style="red")
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def _sentence(error: Exception) -> str:
    if isinstance(error, MinariError):
        return str(error)
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror or error}{place}"
    return f"{type(error).__name__}: {error} (this was not expected; MINARI_DEBUG=1 shows where it comes from)"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the place in the code that it comes from."""
    warn(printable(str(message)).removeprefix("WARN: "))  # with which Gymnasium begins its own, in color
