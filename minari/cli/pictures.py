"""Pictures on terminals: the protocols of kitty, iTerm2 and sixel, and characters of two pixels each."""

from __future__ import annotations

import base64
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from minari.inspection.clips import side_by_side
from minari.inspection.images import Palette, png_bytes, resized


if sys.platform != "win32":
    import fcntl
    import struct
    import termios
    import tty


__all__ = ["Cell", "Grid", "Way", "cell_size", "drawn", "grid_for", "has_sixel", "supported"]

_CHUNK: Final = 4096  # characters of a command to kitty
_PATIENCE: Final = 1.0  # seconds that a terminal may take to answer, over whatever connection
_ATTRIBUTES: Final = re.compile(rb"\x1b\[\?([0-9;]*)c")
_ITERM_PROGRAMS: Final = frozenset({"iTerm.app", "WezTerm", "mintty"})
_TALLEST: Final = 10  # rows of a picture
_LEAST: Final = 4  # pictures that should fit into a row
_MOST: Final = 12  # pictures in a row


#: Ways to show pictures on a terminal.
Way: TypeAlias = Literal["auto", "kitty", "iterm", "sixel", "blocks", "none"]


@dataclass(frozen=True, slots=True)
class Cell:
    """The size of a character on the terminal, in pixels."""

    width: int = 8
    height: int = 16


@dataclass(frozen=True, slots=True)
class Grid:
    """Pictures in a row: their number, and the columns and rows of characters that each takes."""

    number: int
    columns: int
    rows: int


def supported(environment: Mapping[str, str], asked: Callable[[], bool] = lambda: False) -> Way:
    """Return the best way to show pictures on a terminal.

    >>> supported({"TERM": "xterm-kitty"}), supported({"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    ('kitty', 'blocks')

    Args:
        environment: the environment variables, by which most terminals are known.
        asked: asks the terminal whether it shows sixel; called only if nothing else is known of it.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    is_multiplexed = "TMUX" in environment or "STY" in environment or term.startswith(("screen", "tmux"))
    if term in ("", "dumb", "linux"):
        return "none"
    if not is_multiplexed:  # tmux and screen pass on neither of these
        if "KITTY_WINDOW_ID" in environment or "kitty" in term or "ghostty" in (program, term.removeprefix("xterm-")):
            return "kitty"
        if program in _ITERM_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
    if asked():
        return "sixel"
    has_color = environment.get("COLORTERM", "").lower() in ("truecolor", "24bit") and "NO_COLOR" not in environment
    return "blocks" if has_color else "none"


def has_sixel() -> bool:
    """Ask the terminal whether it shows sixel, and wait a moment for the answer; False if there is no terminal."""
    if sys.platform == "win32" or not (sys.stdin.isatty() and sys.stdout.isatty()) or _is_in_background():
        return False
    try:
        with _answers_unseen(sys.stdin.fileno()) as source:
            os.write(sys.stdout.fileno(), b"\x1b[c")  # device attributes, which every terminal answers
            found = _ATTRIBUTES.search(_answer(source))
    except (OSError, termios.error):
        return False
    return found is not None and b"4" in found[1].split(b";")[1:]


if sys.platform != "win32":

    def _is_in_background() -> bool:
        """Return whether the process would be stopped if it changed the terminal."""
        try:
            return os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp()
        except OSError:  # it is not the terminal that controls the process
            return False

    @contextmanager
    def _answers_unseen(source: int) -> Iterator[int]:
        before = termios.tcgetattr(source)
        try:
            tty.setcbreak(source, termios.TCSANOW)
            yield source
        finally:
            termios.tcsetattr(source, termios.TCSANOW, before)


def _answer(source: int) -> bytes:
    found, until = b"", time.monotonic() + _PATIENCE
    while not _ATTRIBUTES.search(found) and (left := until - time.monotonic()) > 0 and len(found) < _CHUNK:
        if not select.select([source], [], [], left)[0]:
            break
        part = os.read(source, _CHUNK)
        if not part:
            break
        found += part
    return found


def cell_size() -> Cell:
    """Return the size of a character on the terminal; a usual one if it does not say."""
    if sys.platform != "win32":
        try:
            answer = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        except (OSError, ValueError):
            return Cell()
        rows, columns, width, height = struct.unpack("HHHH", answer)
        if rows and columns and width >= columns and height >= rows:
            return Cell(width // columns, height // rows)
    return Cell()


def grid_for(height: int, width: int, columns: int, number: int, cell: Cell) -> Grid:
    """Return how pictures of a size fit into a row of a terminal, at least one of them, with a column between them.

    >>> grid_for(84, 84, 100, 300, Cell())
    Grid(number=4, columns=20, rows=10)

    Args:
        height: of a picture, in pixels.
        width: likewise.
        columns: the width of the terminal.
        number: the greatest number of pictures.
        cell: the size of a character.
    """
    ratio = width / height * cell.height / cell.width  # columns per row
    room = (columns + 1) // min(number, _LEAST) - 1
    rows = max(min(_TALLEST, int(room / ratio)), 1)
    wide = min(max(round(rows * ratio), 1), columns)
    return Grid(max(min((columns + 1) // (wide + 1), number, _MOST), 1), wide, rows)


def drawn(pictures: npt.NDArray[np.uint8], grid: Grid, way: Way, cell: Cell) -> str:
    """Return what makes a terminal show pictures in a row, with a line break at the end.

    Args:
        pictures: shape (n, H, W, 3).
        grid: from :func:`grid_for`.
        way: a way that the terminal supports, neither "auto" nor "none".
        cell: the size of a character.
    """
    if way == "blocks":
        return _as_blocks(resized(pictures, 2 * grid.rows, grid.columns))
    height, width = grid.rows * cell.height, grid.columns * cell.width
    if way == "sixel":  # whose pixels are those of the screen, in bands of six
        return f"{_as_sixel(side_by_side(list(resized(pictures, height // 6 * 6, width)), cell.width))}\n"
    smaller = resized(pictures, min(height, pictures.shape[1]), min(width, pictures.shape[2]))
    row = side_by_side(list(smaller), max(round(smaller.shape[2] / grid.columns), 1))
    columns = len(pictures) * (grid.columns + 1) - 1
    data = png_bytes(row)
    command = _as_kitty if way == "kitty" else _as_iterm
    return f"{command(data, columns, grid.rows)}\n"


def _as_kitty(data: bytes, columns: int, rows: int) -> str:
    text = base64.b64encode(data).decode("ascii")
    parts = [text[begin : begin + _CHUNK] for begin in range(0, len(text), _CHUNK)]
    commands = []
    for number, part in enumerate(parts):
        first = f"a=T,f=100,q=2,c={columns},r={rows}," if not number else ""  # q: no answers
        commands.append(f"\x1b_G{first}m={int(number + 1 < len(parts))};{part}\x1b\\")
    return "".join(commands)


def _as_iterm(data: bytes, columns: int, rows: int) -> str:
    text = base64.b64encode(data).decode("ascii")
    options = f"inline=1;size={len(data)};width={columns};height={rows};preserveAspectRatio=0"
    return f"\x1b]1337;File={options}:{text}\x07"


def _as_sixel(pixels: npt.NDArray[np.uint8]) -> str:
    """Return pixels of shape (H, W, 4) in sixel; transparent ones are left as they are."""
    height, width = pixels.shape[:2]
    is_solid = pixels[..., 3] > 0
    palette = Palette(pixels[..., :3][is_solid])
    indices = palette.indices(pixels[..., :3])
    parts = [f'\x1bP0;1q"1;1;{width};{height}']
    for number, color in enumerate(palette.colors.tolist()):
        parts.append(f"#{number};2;" + ";".join(str(round(channel * 100 / 255)) for channel in color))
    bits = (1 << np.arange(6))[:, None]
    for top in range(0, height, 6):
        band, solid = indices[top : top + 6], is_solid[top : top + 6]
        lines = []
        for color in np.unique(band[solid]).tolist():
            sixels = (((band == color) & solid) * bits[: len(band)]).sum(axis=0) + 63
            lines.append(f"#{color}{_runs(sixels)}")
        parts.append("$".join(lines) + "-")
    return "".join(parts) + "\x1b\\"


def _runs(sixels: npt.NDArray[np.int64]) -> str:
    ends = np.append(np.flatnonzero(np.diff(sixels)) + 1, len(sixels))
    starts = np.append(0, ends[:-1])
    runs = zip((ends - starts).tolist(), sixels[starts].tolist(), strict=True)
    return "".join(f"!{length}{chr(code)}" if length > 3 else chr(code) * length for length, code in runs)


def _as_blocks(pictures: npt.NDArray[np.uint8]) -> str:
    """Return pictures of an even height, each character with a pixel above and one below."""
    lines = []
    for top in range(0, pictures.shape[1], 2):
        rows = ("".join(map(_block, one[top].tolist(), one[top + 1].tolist())) for one in pictures)
        lines.append("\x1b[0m ".join(rows) + "\x1b[0m\n")
    return "".join(lines)


def _block(above: list[int], below: list[int]) -> str:
    red, green, blue = above
    return f"\x1b[38;2;{red};{green};{blue};48;2;{below[0]};{below[1]};{below[2]}m▀"
