"""The exceptions of the library, as a tree.

Every exception derives from :class:`MinariError` and from the
built-in exception that programs written for earlier releases already catch, so
``except ValueError`` and ``except FileNotFoundError`` continue to work::

    MinariError
    ├── ArgumentError             (ValueError)         an argument with an invalid value
    │   └── ArgumentTypeError     (TypeError too)      an argument of an invalid type
    ├── DatasetIdError            (ValueError)         a malformed id or namespace
    ├── NamespaceError            (ValueError)         a namespace that exists, is missing or is not empty
    ├── DatasetExistsError        (ValueError, FileExistsError)  the id, or the path, is taken
    ├── DatasetNotFoundError      (FileNotFoundError)  no such dataset
    │   └── DatasetChangedError   (FileNotFoundError)  the dataset was edited after it was opened
    ├── DataPathError             (ValueError)         a directory without a dataset
    ├── DatasetCorruptError       (ValueError)         damaged or inconsistent files
    │   ├── ChecksumError         (ValueError)         values that differ from those written
    │   └── UnsafePathError       (ValueError)         a name or link that leads out of the dataset
    ├── DatasetBusyError          (BlockingIOError)    another program is writing the dataset
    ├── StorageError              (OSError)            a failed write: full disk, no permission
    ├── DatasetVersionError       (ValueError)         a format version that this release cannot read
    ├── UnknownFormatError        (ValueError)         no storage format of that name
    ├── MissingDependencyError    (ImportError)        an optional package is not installed
    ├── MetadataError             (ValueError)         metadata that cannot be stored or must not be changed
    ├── CompressionError          (ValueError)         an unknown or unsupported codec
    ├── EpisodeError              (ValueError)         an episode with inconsistent data
    │   ├── EpisodeKeyError       (KeyError too)       a step lacks a key
    │   └── EpisodeTypeError      (TypeError too)      a value whose type cannot be stored
    ├── EpisodeIndexError         (IndexError)         no episode with that number
    ├── SampleIndexError          (IndexError)         no transition or window with that number
    ├── SpaceError                (ValueError)         a space or description that is not supported
    │   └── UnknownSpaceError     (NotImplementedError too)  a space without a codec
    ├── EnvironmentSpecError      (ValueError)         an environment that cannot be described or recovered
    │   └── EnvironmentModuleError (ModuleNotFoundError too)  one of its modules is not installed
    ├── CombineError              (ValueError)         datasets that cannot be combined
    ├── InterchangeError          (ValueError)         files of another program that cannot be converted
    ├── ScoreError                (ValueError)         a reference score that is missing or contradictory
    ├── VerificationError         (RuntimeError)       a verification that could not be completed
    └── RemoteError               (ValueError)         an unknown remote or unsupported operation
        ├── RemoteAccessError     (PermissionError too)  access denied by the remote
        └── RemoteUnreachableError (ConnectionError too)  no response from the remote

Warnings of interest to programs have classes of their own, below :class:`UserWarning`::

    UserWarning
    ├── MissingMetadataWarning                         a new dataset lacks recommended metadata
    └── UnfitEpisodeWarning                            a recorded episode cannot be stored
"""

from __future__ import annotations


__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ChecksumError",
    "CombineError",
    "CompressionError",
    "DataPathError",
    "DatasetBusyError",
    "DatasetChangedError",
    "DatasetCorruptError",
    "DatasetExistsError",
    "DatasetIdError",
    "DatasetNotFoundError",
    "DatasetVersionError",
    "EnvironmentModuleError",
    "EnvironmentSpecError",
    "EpisodeError",
    "EpisodeIndexError",
    "EpisodeKeyError",
    "EpisodeTypeError",
    "InterchangeError",
    "MetadataError",
    "MinariError",
    "MissingDependencyError",
    "MissingMetadataWarning",
    "NamespaceError",
    "RemoteAccessError",
    "RemoteError",
    "RemoteUnreachableError",
    "SampleIndexError",
    "ScoreError",
    "SpaceError",
    "StorageError",
    "UnfitEpisodeWarning",
    "UnknownFormatError",
    "UnknownSpaceError",
    "UnsafePathError",
    "VerificationError",
]


class MinariError(Exception):
    """Base class of the exceptions of this library."""


class ArgumentError(MinariError, ValueError):
    """An argument of a function has an invalid value."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of a function has an invalid type."""


class DatasetIdError(MinariError, ValueError):
    """A dataset id or a namespace does not follow the grammar ``(namespace/)*name-vN``."""


class NamespaceError(MinariError, ValueError):
    """A namespace exists already, does not exist, or is not empty."""


class DatasetExistsError(MinariError, ValueError, FileExistsError):
    """The dataset id or the directory already holds a dataset, and datasets are never overwritten."""


class DatasetNotFoundError(MinariError, FileNotFoundError):
    """There is no dataset with that id."""


class DatasetChangedError(DatasetNotFoundError):
    """The episodes or fields of the dataset were edited after it was opened, so that its numbers mean others now."""


class DataPathError(MinariError, ValueError):
    """A directory that should hold a dataset does not exist or holds none."""


class DatasetCorruptError(MinariError, ValueError):
    """The files of a dataset are damaged, foreign or inconsistent."""


class ChecksumError(DatasetCorruptError):
    """Values differ from those that were written: their checksum does not match."""


class UnsafePathError(DatasetCorruptError):
    """A name or link in the data leads out of the dataset's directory or to something other than a regular file."""


class DatasetBusyError(MinariError, BlockingIOError):
    """Another program is writing to the dataset."""


class StorageError(MinariError, OSError):
    """Writing or moving files failed: the disk is full or failing, or permission is missing.

    Args:
        message: the failed operation and the remedy.
        number: the error number of the operating system, kept as ``errno``.
        reason: the error message of the operating system, kept as ``strerror``.
        path: the file, kept as ``filename``.
    """

    def __init__(
        self, message: str, number: int | None = None, reason: str | None = None, path: str | None = None
    ) -> None:
        super().__init__(message)
        self.errno, self.strerror, self.filename = number, reason, path

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.errno, self.strerror, self.filename)


class DatasetVersionError(MinariError, ValueError):
    """The dataset follows a format version that this release cannot read."""


class UnknownFormatError(MinariError, ValueError):
    """No storage format with that name is registered."""


class MissingDependencyError(MinariError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""


class MetadataError(MinariError, ValueError):
    """Metadata that cannot be stored, or a key that must not be changed."""


class CompressionError(MinariError, ValueError):
    """A codec is unknown, or the storage format does not support it for that column."""


class EpisodeError(MinariError, ValueError):
    """The parts of an episode are inconsistent with each other or with their space.

    Attributes:
        info_path: keys of the info that cannot be stored, joined by ``/``, as ``DataCollector.discard_info`` takes
            them; None for other causes.
        problem: the message without the advice about infos.
    """

    def __init__(self, *args: object, info_path: str | None = None, problem: str | None = None) -> None:
        super().__init__(*args)
        self.info_path = info_path
        self.problem = str(self) if problem is None else problem


class EpisodeTypeError(EpisodeError, TypeError):
    """An episode contains a value whose type cannot be stored."""


class EpisodeKeyError(EpisodeError, KeyError):
    """A key is missing in the data of a step."""

    __str__ = Exception.__str__  # not the quoted message of a KeyError


class EpisodeIndexError(MinariError, IndexError):
    """The dataset has no episode with that number."""


class SampleIndexError(MinariError, IndexError):
    """There is no transition or window with that number."""


class SpaceError(MinariError, ValueError):
    """A space, or its description in JSON, is not supported."""


class UnknownSpaceError(SpaceError, NotImplementedError):
    """No codec is registered for a space of that type."""


class EnvironmentSpecError(MinariError, ValueError):
    """An environment cannot be described, or cannot be recovered from its description."""


class EnvironmentModuleError(EnvironmentSpecError, ModuleNotFoundError):
    """A module that an environment needs is not installed.

    Args:
        message: the module, the environment and the remedy.
        name: name of the module, kept as ``name``.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        ModuleNotFoundError.__init__(self, message, name=name)


class CombineError(MinariError, ValueError):
    """The datasets cannot be combined into one."""


class InterchangeError(MinariError, ValueError):
    """Files of another program are damaged or cannot be converted, or their format cannot hold a dataset."""


class ScoreError(MinariError, ValueError):
    """A reference score is missing or ambiguous."""


class VerificationError(MinariError, RuntimeError):
    """A verification that could not be completed, since a process that replays episodes has failed or died."""


class RemoteError(MinariError, ValueError):
    """A remote is unknown, or does not support the operation."""


class RemoteAccessError(RemoteError, PermissionError):
    """The remote denies access: a token or key is missing, invalid or not sufficient."""


class RemoteUnreachableError(RemoteError, ConnectionError):
    """The remote does not respond: it refuses or drops connections, times out, or is overloaded.

    Attributes:
        retry_after: number of seconds to wait, if the remote gives one.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MissingMetadataWarning(UserWarning):
    """A dataset is created without recommended metadata, such as its author."""


class UnfitEpisodeWarning(UserWarning):
    """A recorded episode cannot be stored and stays in memory until it is fixed or dropped.

    Attributes:
        error: the exception that describes the cause.
    """

    def __init__(self, message: str, error: Exception | None = None) -> None:
        super().__init__(message)
        self.error = error
