"""Namespaces: the directories that group datasets, each with its own metadata, locally and on remotes."""

from minari._base.files import NAMESPACE_METADATA_FILENAME
from minari._catalog.namespaces import (
    create_namespace,
    delete_namespace,
    get_namespace_metadata,
    list_local_namespaces,
    namespace_hierarchy,
    update_namespace_metadata,
    validate_namespace,
)
from minari.storage.remote_namespaces import (
    download_namespace_metadata,
    list_remote_namespaces,
    upload_namespace,
)


__all__ = [
    "NAMESPACE_METADATA_FILENAME",
    "create_namespace",
    "delete_namespace",
    "download_namespace_metadata",
    "get_namespace_metadata",
    "list_local_namespaces",
    "list_remote_namespaces",
    "namespace_hierarchy",
    "update_namespace_metadata",
    "upload_namespace",
    "validate_namespace",
]
