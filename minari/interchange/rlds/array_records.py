"""ArrayRecord containers, read by the package of that name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from minari._base.files import open_regular
from minari._base.lazy import import_late
from minari.errors import InterchangeError, MissingDependencyError
from minari.interchange.tfrecord import damaged


__all__ = ["read_array_records"]

_AT_ONCE = 4  # records


def read_array_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a container.

    Raises:
        MissingDependencyError: the package is not installed.
        InterchangeError: the container is damaged.
    """
    reader: Any = None
    os.close(open_regular(path))  # the package would follow any link
    try:
        module = import_late("array_record.python.array_record_module")
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is an ArrayRecord container, which needs array_record, which is not installed; run "
            f'pip install "minari[array_record]", or write the data set again as TFRecord.'
        ) from error
    try:
        reader = module.ArrayRecordReader(str(path))
        for start in range(0, reader.num_records(), _AT_ONCE):
            yield from reader.read(range(start, min(start + _AT_ONCE, reader.num_records())))
    except InterchangeError:
        raise
    except Exception as error:
        raise damaged(path, error) from error
    finally:
        if reader is not None:
            with suppress(RuntimeError):  # which it raises again for a damaged container
                reader.close()
