"""Datasets of episodes for offline reinforcement learning: record, store, read and share them.

The names below are imported when they are first used (:mod:`minari._base.lazy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minari._base.lazy import lazy_package


if TYPE_CHECKING:
    from minari import data_collector as data_collector
    from minari import dataset as dataset
    from minari import errors as errors
    from minari import namespace as namespace
    from minari import plot as plot
    from minari import sampling as sampling
    from minari import serialization as serialization
    from minari import storage as storage
    from minari import utils
    from minari._catalog.listing import list_local_datasets
    from minari._model.episode import EpisodeData, StepData
    from minari._model.format_version import supported_dataset_versions
    from minari.data_collector import DataCollector, MultiAgentDataCollector, VectorDataCollector
    from minari.data_collector.callbacks import EpisodeMetadataCallback, StepDataCallback
    from minari.data_collector.deprecated import DataCollectorV0, create_dataset_from_collector_env
    from minari.data_collector.verification import verify
    from minari.dataset.combine import combine_datasets
    from minari.dataset.diff import diff_datasets
    from minari.dataset.edit import edit_dataset
    from minari.dataset.from_arrays import create_dataset_from_arrays
    from minari.dataset.from_buffers import create_dataset_from_buffers
    from minari.dataset.minari_dataset import MinariDataset
    from minari.dataset.scores import get_normalized_score
    from minari.dataset.split import split_dataset
    from minari.dataset.validation import validate
    from minari.sampling.mixing import mix
    from minari.storage.hosting import download_dataset, list_remote_datasets, upload_dataset
    from minari.storage.local import delete_dataset, load_dataset, open_dataset, rename_dataset
else:
    __getattr__, __dir__ = lazy_package(
        __name__,
        {
            "minari.data_collector": ("DataCollector", "MultiAgentDataCollector", "VectorDataCollector"),
            "minari.data_collector.callbacks": ("EpisodeMetadataCallback", "StepDataCallback"),
            "minari.data_collector.deprecated": ("DataCollectorV0", "create_dataset_from_collector_env"),
            "minari.data_collector.verification": ("verify",),
            "minari.dataset.from_arrays": ("create_dataset_from_arrays",),
            "minari.dataset.combine": ("combine_datasets",),
            "minari.dataset.diff": ("diff_datasets",),
            "minari.dataset.edit": ("edit_dataset",),
            "minari.dataset.from_buffers": ("create_dataset_from_buffers",),
            "minari._model.episode": ("EpisodeData", "StepData"),
            "minari.dataset.minari_dataset": ("MinariDataset",),
            "minari.dataset.scores": ("get_normalized_score",),
            "minari.dataset.split": ("split_dataset",),
            "minari.dataset.validation": ("validate",),
            "minari._model.format_version": ("supported_dataset_versions",),
            "minari.sampling.mixing": ("mix",),
            "minari._catalog.listing": ("list_local_datasets",),
            "minari.storage.hosting": ("download_dataset", "list_remote_datasets", "upload_dataset"),
            "minari.storage.local": ("delete_dataset", "load_dataset", "open_dataset", "rename_dataset"),
        },
    )


__all__ = [
    "DataCollector",
    "DataCollectorV0",
    "EpisodeData",
    "EpisodeMetadataCallback",
    "MinariDataset",
    "MultiAgentDataCollector",
    "StepData",
    "StepDataCallback",
    "VectorDataCollector",
    "__version__",
    "combine_datasets",
    "create_dataset_from_arrays",
    "create_dataset_from_buffers",
    "create_dataset_from_collector_env",
    "delete_dataset",
    "diff_datasets",
    "download_dataset",
    "edit_dataset",
    "get_normalized_score",
    "list_local_datasets",
    "list_remote_datasets",
    "load_dataset",
    "mix",
    "namespace",
    "open_dataset",
    "rename_dataset",
    "sampling",
    "serialization",
    "split_dataset",
    "supported_dataset_versions",
    "upload_dataset",
    "utils",
    "validate",
    "verify",
]

__version__ = "0.6.0"
