"""The process that reads through HDF5 for another one, which survives if it hangs or crashes.

Requests are lines of JSON. An answer has parts: the length of a JSON text, the text, and the concatenated
bytes of the arrays that it describes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import h5py
import numpy as np
from h5py import h5d, h5t, h5z

from minari._base.files import open_regular
from minari.errors import DatasetCorruptError


resource: Any = None
with contextlib.suppress(ImportError):  # only POSIX has limits
    resource = importlib.import_module("resource")

_LINKED_FILE: Final = re.compile(r"(?:\./)?(additional_data_[0-9]+\.hdf5)")
_EPISODE: Final = re.compile(r"episode_(0|[1-9][0-9]*)")
_MEMBERS: Final = ("rewards", "terminations", "truncations", "observations", "actions", "infos")
_STATE: Final = "state"  # of all agents, beside the groups of each
_PLUGINS: Final = "hdf5plugin"
_MOST_EXPANDED: Final = 1032  # maximum expansion of a byte of the file, as in `format.filters`
_MEMORY: Final = 2**30  # bytes that reading may take in addition to those of the file
_MOST_LEVELS: Final = 64


class _Refused(DatasetCorruptError):
    """A refusal: the kind of the error and its message."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def _open(path: str, files: contextlib.ExitStack) -> h5py.File:
    """Open a regular file, through its descriptor if the system can name it."""
    descriptor = open_regular(path)
    files.callback(os.close, descriptor)
    named = f"/proc/self/fd/{descriptor}"
    return files.enter_context(h5py.File(named if os.path.exists(named) else path, "r", locking=False))  # noqa: PTH110


class _Episodes:
    """The groups of the episodes of a file, and of linked files beside it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.files = contextlib.ExitStack()
        self.main = _open(path, self.files)
        self._others: dict[str, h5py.File] = {}

    def find(self, group: h5py.Group, path: str, *, is_linked: bool = False) -> Any:
        """Return an object by its path, without links to other files that HDF5 would follow."""
        found: Any = group
        for part in (part for part in path.split("/") if part):
            link = found.get(part, getlink=True)
            if isinstance(link, h5py.HardLink):
                found = found[part]
                continue
            match = _LINKED_FILE.fullmatch(link.filename) if isinstance(link, h5py.ExternalLink) else None
            if match is None or is_linked:
                raise _Refused("unsafe", f"{part} is a link that leads elsewhere")
            if match[1] not in self._others:
                self._others[match[1]] = _open(str(Path(self.path).with_name(match[1])), self.files)
            return self.find(self._others[match[1]], link.path, is_linked=True)
        return found

    def episode(self, index: int) -> h5py.Group:
        found = self.find(self.main, f"episode_{index}")
        if not isinstance(found, h5py.Group):
            raise _Refused("damaged", f"episode_{index} is not a group")
        return found

    def array(self, group: h5py.Group, path: str) -> h5py.Dataset:
        found = self.find(group, path, is_linked=group.file != self.main)
        if not isinstance(found, h5py.Dataset):
            raise _Refused("damaged", f"{path} is not an array")
        properties = found.id.get_create_plist()
        if properties.get_external_count() or properties.get_layout() == h5d.VIRTUAL:
            raise _Refused("unsafe", f"the values of {path} lie in other files")
        return found


def _leaves(
    group: h5py.Group, members: Collection[str], prefix: str = "", level: int = 0
) -> Iterator[tuple[str, h5py.Dataset]]:
    for name in group:
        if (not prefix and name not in members) or level > _MOST_LEVELS:
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise _Refused("unsafe", f"{prefix}{name} is a link that leads elsewhere")
        item = group[name]
        if isinstance(item, h5py.Dataset):
            yield prefix + name, item
        elif isinstance(item, h5py.Group):
            yield from _leaves(item, members, f"{prefix}{name}/", level + 1)


def _has_no_space(name: str, agents: Collection[str]) -> bool:
    """Return whether an array holds infos, or the state of many agents, which may be anything."""
    first, _, rest = name.partition("/")
    if agents:
        return first == _STATE or rest.startswith("infos/")
    return name.startswith("infos/")


def _require_filters(dataset: h5py.Dataset, name: str, path: str) -> None:
    properties = dataset.id.get_create_plist()
    for place in range(properties.get_nfilters()):
        number, _, _, text = properties.get_filter(place)
        if not h5z.filter_avail(number):
            with contextlib.suppress(ImportError):
                importlib.import_module(_PLUGINS)  # registers the filters with HDF5
            if not h5z.filter_avail(number):
                known_as = text.decode(errors="replace").partition(";")[0]
                raise _Refused(
                    "missing",
                    f"{name} in {path} is compressed with the HDF5 filter {number}"
                    f"{f' ({known_as})' if known_as else ''}, which is not installed; "
                    'install it with: pip install "minari[compression]"',
                )


@contextlib.contextmanager
def _nothing_else_opened() -> Iterator[None]:
    """Prevent HDF5 from opening files while it reads values."""
    if resource is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)  # the smallest unused one
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _values(dataset: h5py.Dataset, name: str, episodes: _Episodes, has_no_space: bool) -> Any:
    """Return the values of an array; a list for texts or byte strings, None for unsupported types."""
    most = _MOST_EXPANDED * Path(episodes.path).stat().st_size
    if max(dataset.nbytes, math.prod(dataset.chunks or (), start=dataset.dtype.itemsize)) > most:
        raise _Refused("damaged", f"the {dataset.nbytes} bytes of {name} cannot come from so small a file")
    text = h5py.check_string_dtype(dataset.dtype)
    if text is not None and dataset.dtype.kind == "O":
        if text.encoding == "ascii" and has_no_space:  # marks byte strings
            return [bytes(value) for value in dataset[:].reshape(-1)]
        return dataset.asstr()[:].reshape(-1).tolist()
    if dataset.dtype.kind == "f" and not dataset.id.get_type().equal(h5t.py_create(dataset.dtype)):
        raise _Refused("damaged", f"{name} has floating-point numbers of an unusual layout")
    if dataset.dtype.kind in "biufcSV" and not dataset.dtype.hasobject:
        return np.asarray(dataset[()])
    if h5py.check_vlen_dtype(dataset.dtype) == np.uint8:
        return [bytes(value) for value in dataset[:].reshape(-1)]
    return None


def _attributes(item: Any) -> tuple[list[Any], list[np.ndarray]]:
    """Return names and values of attributes: texts unchanged, arrays as references to later parts; omit others."""
    described: list[Any] = []
    arrays: list[np.ndarray] = []
    for name in item.attrs:
        value: Any = None
        with contextlib.suppress(OSError, TypeError):  # of unsupported types
            value = item.attrs[name]
        if isinstance(value, str):
            described.append([name, "text", value])
        elif isinstance(value, np.ndarray) and value.dtype == object and all(isinstance(v, str) for v in value.flat):
            described.append([name, "texts", [list(value.shape), value.reshape(-1).tolist()]])
        elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            described.append([name, "array", len(arrays)])
            arrays.append(np.asarray(value))
        elif value is None or isinstance(value, h5py.Empty):
            described.append([name, "none", None])
    return described, arrays


# Requests


def _count(episodes: _Episodes, request: Any) -> Iterator[tuple[Any, list[Any]]]:
    yield sum(_EPISODE.fullmatch(name) is not None for name in episodes.main), []


def _root_attributes(episodes: _Episodes, request: Any) -> Iterator[tuple[Any, list[Any]]]:
    yield _attributes(episodes.main)


def _list_leaves(episodes: _Episodes, request: Any) -> Iterator[tuple[Any, list[Any]]]:
    group = episodes.episode(request["episode"])
    members = [*agents, _STATE] if (agents := request.get("agents")) else [*_MEMBERS, *request.get("further", ())]
    leaves = [(name, item.shape, item.dtype) for name, item in _leaves(group, members) if item.shape]
    steps = group.attrs.get("total_steps")
    if steps is None:
        steps = next((shape[0] for name, shape, _ in leaves if name == "rewards"), 0)
    yield [int(steps), [[name, shape, None if dtype.hasobject else dtype.str] for name, shape, dtype in leaves]], []


def _columns(episodes: _Episodes, request: Any) -> Iterator[tuple[Any, list[Any]]]:
    for index, names in request["wanted"]:
        group = episodes.episode(index)
        found, arrays = [], []
        for name in names:
            dataset = episodes.array(group, name)
            _require_filters(dataset, name, episodes.path)
            has_no_space = _has_no_space(name, request.get("agents") or ())
            with _nothing_else_opened():
                value = _values(dataset, name, episodes, has_no_space)
            if value is None and not has_no_space:
                raise _Refused("damaged", f"{name} is of a type that is of no use")
            if isinstance(value, list):
                kind = "bytes" if value and isinstance(value[0], bytes) else "texts"
                encoded = [item.encode() if isinstance(item, str) else item for item in value]
                found.append([name, kind])
                arrays += [np.array([len(item) for item in encoded], "<i8"), np.frombuffer(b"".join(encoded), "u1")]
            elif value is not None:
                found.append([name, "array"])
                arrays.append(value)
        yield [index, found], arrays


def _metadata(episodes: _Episodes, request: Any) -> Iterator[tuple[Any, list[Any]]]:
    group = episodes.episode(request["episode"])
    yield _attributes(group)
    rewards = group.get("rewards") if isinstance(group.get("rewards", getlink=True), h5py.HardLink) else None
    yield _attributes(rewards) if isinstance(rewards, h5py.Dataset) else ([], [])


_ANSWERS: Final = {
    "count": _count,
    "root_attributes": _root_attributes,
    "leaves": _list_leaves,
    "columns": _columns,
    "metadata": _metadata,
}


def _limit(path: str, seconds: int) -> None:
    """Limit the time and the memory of a request."""
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        size = pages * resource.getpagesize() + _MEMORY + 16 * Path(path).stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _answer(request: Any, output: BinaryIO) -> None:
    def send(header: Any, arrays: list[Any]) -> None:
        arrays = [np.ascontiguousarray(array) for array in arrays]
        forms = [[np.lib.format.dtype_to_descr(array.dtype), list(array.shape)] for array in arrays]
        encoded = json.dumps([*header, forms]).encode()
        output.write(len(encoded).to_bytes(8, "little") + encoded)
        for array in arrays:
            if array.nbytes:
                output.write(memoryview(array.reshape(-1).view(np.uint8)))
        output.flush()

    try:
        _limit(request["path"], request["seconds"])
        episodes = _Episodes(request["path"])
        with episodes.files:
            for part, arrays in _ANSWERS[request["what"]](episodes, request):
                send(["part", part], arrays)
        send(["done", None], [])
    except _Refused as refusal:
        send([refusal.kind, str(refusal)], [])
    except Exception as error:  # HDF5 and h5py fail in many ways for a damaged file
        send(["damaged", f"{type(error).__name__}: {error}"], [])


def main() -> None:
    """Answer requests until there are no more."""
    output = os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # so that nothing else is written among the answers
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    for line in sys.stdin.buffer:
        _answer(json.loads(line), output)
