"""Errors about files of other programs that are damaged."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from minari._base.json_text import shortened
from minari.errors import DatasetCorruptError, EpisodeError, InterchangeError, MetadataError, MinariError, SpaceError


__all__ = ["DAMAGE", "damage_as_error"]

#: What readers raise about bytes that they cannot read; RecursionError is a RuntimeError.
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)

_LONGEST_MESSAGE = 1000


@contextmanager
def damage_as_error(where: object) -> Iterator[None]:
    """Raise errors about bytes that cannot be read as :class:`InterchangeError`, in one sentence.

    Args:
        where: the file or directory, for the message.

    Raises:
        InterchangeError: a reader has raised an error about the bytes.
    """
    try:
        yield
    except DatasetCorruptError as error:
        raise InterchangeError(str(error)) from error
    except (EpisodeError, MetadataError, SpaceError) as error:
        text = " ".join(str(error).split())
        raise InterchangeError(
            f"{where} has values that no dataset can have ({shortened(text)[1:-1]}); it is damaged or of another "
            f"kind, so copy or download it again."
        ) from error
    except InterchangeError as error:
        text = " ".join(str(error).split())
        if text == str(error) and len(text) <= _LONGEST_MESSAGE:
            raise
        raise InterchangeError(text[:_LONGEST_MESSAGE]) from error  # names and values from data, such as arrays
    except MinariError:
        raise
    except DAMAGE as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InterchangeError(
            f"{where} cannot be read ({shortened(text)[1:-1]}); it is damaged, incomplete or of another kind, so copy "
            f"or download it again."
        ) from error
