"""The exceptions of the library, as a tree.

Every exception derives from :class:`MinariError` and from the
built-in exception that programs written for earlier releases already catch, so
``except ValueError`` and ``except FileNotFoundError`` go on working::

    MinariError
    ├── ArgumentError             (ValueError)         an argument outside of what a function takes
    │   └── ArgumentTypeError     (TypeError too)      an argument of another kind than a function takes
    ├── DatasetIdError            (ValueError)         a malformed id or namespace
    ├── NamespaceError            (ValueError)         a namespace that exists, is missing or is not empty
    ├── DatasetExistsError        (ValueError, FileExistsError)  the id, or the path, is taken
    ├── DatasetNotFoundError      (FileNotFoundError)  no such dataset
    ├── DataPathError             (ValueError)         a folder that holds no dataset
    ├── DatasetCorruptError       (ValueError)         files that are damaged, or disagree with each other
    │   ├── ChecksumError         (ValueError)         values that are not those that were written
    │   └── UnsafePathError       (ValueError)         a name or link that leads out of the dataset
    ├── DatasetBusyError          (BlockingIOError)    another program is writing the dataset
    ├── StorageError              (OSError)            the system refuses to write: a full disk, no permission
    ├── DatasetVersionError       (ValueError)         a format version that this release cannot read
    ├── UnknownFormatError        (ValueError)         no storage format of that name
    ├── MissingDependencyError    (ImportError)        an optional package is not installed
    ├── MetadataError             (ValueError)         metadata that cannot be stored or must not be changed
    ├── CompressionError          (ValueError)         a codec that is not known, or that the format does not have
    ├── EpisodeError              (ValueError)         an episode whose data do not fit together
    │   ├── EpisodeKeyError       (KeyError too)       a step lacks a key
    │   └── EpisodeTypeError      (TypeError too)      a value of a kind that cannot be stored
    ├── EpisodeIndexError         (IndexError)         no episode of that number
    ├── SpaceError                (ValueError)         a space, or its description, that is not understood
    │   └── UnknownSpaceError     (NotImplementedError too)  a space without a codec
    ├── EnvironmentSpecError      (ValueError)         an environment that cannot be described or recovered
    │   └── EnvironmentModuleError (ModuleNotFoundError too)  a module of it is not installed
    ├── CombineError              (ValueError)         datasets that cannot become one
    ├── ScoreError                (ValueError)         a reference score that is missing or contradictory
    └── RemoteError               (ValueError)         a remote that is unknown or cannot do what it is asked
        ├── RemoteAccessError     (PermissionError too)  the remote does not let this user do it
        └── RemoteUnreachableError (ConnectionError too)  the remote does not answer

Warnings that programs may want to tell apart are classes as well, all of them below :class:`UserWarning`::

    UserWarning
    ├── MissingMetadataWarning                         a new dataset lacks metadata worth giving
    └── UnfitEpisodeWarning                            an episode that was recorded cannot be stored
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
    "MetadataError",
    "MinariError",
    "MissingDependencyError",
    "MissingMetadataWarning",
    "NamespaceError",
    "RemoteAccessError",
    "RemoteError",
    "RemoteUnreachableError",
    "ScoreError",
    "SpaceError",
    "StorageError",
    "UnfitEpisodeWarning",
    "UnknownFormatError",
    "UnknownSpaceError",
    "UnsafePathError",
]


class MinariError(Exception):
    """Whatever this library raises on purpose."""


class ArgumentError(MinariError, ValueError):
    """An argument of a function has a value that it does not take."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of a function is of a kind that it does not take."""


class DatasetIdError(MinariError, ValueError):
    """A dataset id or a namespace does not follow the grammar ``(namespace/)*name-vN``."""


class NamespaceError(MinariError, ValueError):
    """A namespace exists already, does not exist, or is not empty."""


class DatasetExistsError(MinariError, ValueError, FileExistsError):
    """The dataset id, or the folder, already holds a dataset, and datasets are never overwritten."""


class DatasetNotFoundError(MinariError, FileNotFoundError):
    """There is no dataset of that id where it was looked for."""


class DataPathError(MinariError, ValueError):
    """A folder that should hold a dataset does not exist or holds none."""


class DatasetCorruptError(MinariError, ValueError):
    """The files of a dataset are damaged, foreign, or disagree with each other."""


class ChecksumError(DatasetCorruptError):
    """Values are not those that were written: their checksum is another."""


class UnsafePathError(DatasetCorruptError):
    """A name in the data, or a link, leads out of the dataset's directory, or to no regular file."""


class DatasetBusyError(MinariError, BlockingIOError):
    """Another program is writing the dataset at this moment."""


class StorageError(MinariError, OSError):
    """The system refuses to write or move files: the disk is full or failing, or permission is missing.

    Args:
        message: what was refused, and what to do about it.
        number: the error number of the system, kept as ``errno``.
        reason: the text of the system about it, kept as ``strerror``.
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
    """No storage format is registered under that name."""


class MissingDependencyError(MinariError, ImportError):
    """An optional package is needed and not installed; the message has the install line."""


class MetadataError(MinariError, ValueError):
    """Metadata that cannot be stored, or a key that must not be changed."""


class CompressionError(MinariError, ValueError):
    """A codec is not known, or the storage format does not have it or not for that column."""


class EpisodeError(MinariError, ValueError):
    """The parts of an episode do not fit together, or do not fit their space.

    Attributes:
        info_path: the keys, joined by ``/``, of the info that cannot be stored, as ``DataCollector.discard_info``
            takes them; None for any other cause.
        problem: the message without its advice on infos.
    """

    def __init__(self, *args: object, info_path: str | None = None, problem: str | None = None) -> None:
        super().__init__(*args)
        self.info_path = info_path
        self.problem = str(self) if problem is None else problem


class EpisodeTypeError(EpisodeError, TypeError):
    """An episode holds a value of a kind that cannot be stored."""


class EpisodeKeyError(EpisodeError, KeyError):
    """The data of a step lack a key."""

    __str__ = Exception.__str__  # and not the message in quotes, as of a KeyError


class EpisodeIndexError(MinariError, IndexError):
    """The dataset has no episode of that number."""


class SpaceError(MinariError, ValueError):
    """A space, or its description in JSON, is not understood."""


class UnknownSpaceError(SpaceError, NotImplementedError):
    """No codec is registered for a space of that type."""


class EnvironmentSpecError(MinariError, ValueError):
    """An environment cannot be described, or cannot be recovered from its description."""


class EnvironmentModuleError(EnvironmentSpecError, ModuleNotFoundError):
    """A module that an environment needs is not installed.

    Args:
        message: which module of which environment, and what to do about it.
        name: of the module, kept as ``name``.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        ModuleNotFoundError.__init__(self, message, name=name)


class CombineError(MinariError, ValueError):
    """The datasets cannot be combined into one."""


class ScoreError(MinariError, ValueError):
    """A reference score is missing, or given in two ways at once."""


class RemoteError(MinariError, ValueError):
    """A remote is unknown, or cannot do what it is asked."""


class RemoteAccessError(RemoteError, PermissionError):
    """The remote does not let this user do it: a token or key is missing, wrong, or not enough."""


class RemoteUnreachableError(RemoteError, ConnectionError):
    """The remote does not answer: it refuses, breaks off, takes too long, or is overloaded.

    Attributes:
        retry_after: for how many seconds it asks to be left alone; None where it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MissingMetadataWarning(UserWarning):
    """A dataset is created without metadata worth giving, such as its author."""


class UnfitEpisodeWarning(UserWarning):
    """An episode that was recorded cannot be stored, and stays in memory until it is mended or dropped.

    Attributes:
        error: why it cannot be stored.
    """

    def __init__(self, message: str, error: Exception | None = None) -> None:
        super().__init__(message)
        self.error = error
