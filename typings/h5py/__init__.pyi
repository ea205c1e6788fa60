"""Types of what this library uses of h5py, which has none itself."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from h5py import h5d as h5d
from h5py import h5o as h5o
from h5py import h5r as h5r
from h5py import h5s as h5s
from h5py import h5t as h5t
from h5py import h5z as h5z
from typing_extensions import Self

class HardLink: ...

class SoftLink:
    path: str

class ExternalLink:
    filename: str
    path: str

class Empty: ...

class StringInfo(NamedTuple):
    encoding: str
    length: int | None

def check_string_dtype(dt: np.dtype[Any]) -> StringInfo | None: ...
def check_vlen_dtype(dt: np.dtype[Any]) -> Any: ...

class AttributeManager:
    def __iter__(self) -> Iterator[str]: ...
    def __getitem__(self, name: str) -> Any: ...
    def __setitem__(self, name: str, value: Any) -> None: ...
    def __delitem__(self, name: str) -> None: ...
    def get(self, name: str, default: Any = ...) -> Any: ...

class HLObject:
    attrs: AttributeManager
    file: File

class AsStrWrapper:
    def __getitem__(self, args: Any) -> npt.NDArray[Any]: ...

class Dataset(HLObject):
    id: h5d.DatasetID
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    chunks: tuple[int, ...] | None
    def __getitem__(self, args: Any) -> Any: ...
    def asstr(self) -> AsStrWrapper: ...

class Group(HLObject):
    id: Any
    def __iter__(self) -> Iterator[str]: ...
    def __getitem__(self, name: str) -> Any: ...
    def __delitem__(self, name: str) -> None: ...
    def get(self, name: str, default: Any = ..., getclass: bool = ..., getlink: bool = ...) -> Any: ...
    def move(self, source: str, dest: str) -> None: ...
    def create_dataset(
        self, name: str, shape: Sequence[int] | None = ..., dtype: Any = ..., data: Any = ..., **kwds: Any
    ) -> Dataset: ...

class File(Group):
    def __init__(
        self,
        name: Any,
        mode: str = ...,
        driver: str | None = ...,
        libver: str | tuple[str, str] | None = ...,
        *,
        locking: bool | None = ...,
        backing_store: bool = ...,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def close(self) -> None: ...
