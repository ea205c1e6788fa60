"""Stores of objects under names, such as buckets, as remotes: what is the same for all of them."""

from __future__ import annotations

from collections.abc import Iterable

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._model.dataset_id import is_part
from minari.storage.remotes.cloud_storage import CloudStorage
from minari.storage.remotes.object_catalogue import put_into_index, read_catalogue
from minari.storage.remotes.object_store import ABSENT, ConflictError, ObjectStore
from minari.storage.remotes.object_upload import ObjectUpload
from minari.storage.transfer.outgoing import OutgoingDataset, old_layout
from minari.storage.transfer.remote_files import RemoteFile
from minari.storage.transfer.workers import Advance


__all__ = ["ABSENT", "ConflictError", "ObjectStorage"]


class ObjectStorage(CloudStorage, ObjectStore):
    """A remote that keeps objects under names, each of which is written whole.

    A kind of store fills in the methods of :class:`ObjectStore`: ``find``, ``read_file``, ``read_range``,
    ``read_version``, ``put``, ``put_file`` and ``delete``.
    """

    def survey(self, prefix: str | None = None) -> dict[str, bytes | None]:
        """The datasets that are complete, with their metadata as far as the index has them."""
        return read_catalogue(self, prefix or "").metadata

    def list_namespaces(self) -> list[str]:
        """The namespaces that have metadata, sorted."""
        ending = f"/{NAMESPACE_METADATA_FILENAME}"
        found = (file.name.removesuffix(ending) for file in self.find("", ending))
        return sorted(name for name in found if all(map(is_part, name.split("/"))))

    def list_files(self, folder: str) -> Iterable[RemoteFile]:
        """All files below a folder."""
        return self.find(f"{folder}/")

    def write_file(self, name: str, content: bytes) -> None:
        """Write a small file, in the place of the one that may be there."""
        self.put(name, content)

    def send_dataset(self, outgoing: OutgoingDataset, advance: Advance, *, force: bool) -> None:
        """Send the files of a dataset, the one by which it is listed last, and put it into the index."""
        if outgoing.metadata is None:
            raise old_layout(outgoing.dataset_id)
        ObjectUpload(self, outgoing).run(advance, force=force)
        put_into_index(self, outgoing.dataset_id, outgoing.metadata)
