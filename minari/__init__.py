"""Datasets of episodes for offline reinforcement learning: record, store, read and share them."""

from minari import namespace, serialization, utils
from minari.data_collector import DataCollector
from minari.data_collector.callbacks import EpisodeMetadataCallback, StepDataCallback
from minari.data_collector.older_names import DataCollectorV0, create_dataset_from_collector_env
from minari.dataset.arrays import create_dataset_from_arrays
from minari.dataset.combining import combine_datasets, split_dataset
from minari.dataset.creation import create_dataset_from_buffers
from minari.dataset.episode_data import EpisodeData
from minari.dataset.minari_dataset import MinariDataset
from minari.dataset.scores import get_normalized_score
from minari.dataset.step_data import StepData
from minari.dataset.versions import supported_dataset_versions
from minari.storage.hosting import download_dataset, list_remote_datasets, upload_dataset
from minari.storage.local import delete_dataset, list_local_datasets, load_dataset, open_dataset


__all__ = [
    "DataCollector",
    "DataCollectorV0",
    "EpisodeData",
    "EpisodeMetadataCallback",
    "MinariDataset",
    "StepData",
    "StepDataCallback",
    "__version__",
    "combine_datasets",
    "create_dataset_from_arrays",
    "create_dataset_from_buffers",
    "create_dataset_from_collector_env",
    "delete_dataset",
    "download_dataset",
    "get_normalized_score",
    "list_local_datasets",
    "list_remote_datasets",
    "load_dataset",
    "namespace",
    "open_dataset",
    "serialization",
    "split_dataset",
    "supported_dataset_versions",
    "upload_dataset",
    "utils",
]

__version__ = "0.6.0"
