"""Earlier location of functions that are now in :mod:`minari.dataset` and :mod:`minari.storage`."""

from minari._catalog.layout import free_dataset_path as _generate_dataset_path
from minari._catalog.layout import get_dataset_path
from minari._catalog.namespaces import create_namespace, list_local_namespaces
from minari._storages.base import MinariStorage
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.combine import combine_datasets, validate_datasets_to_combine
from minari.dataset.description import get_dataset_spec_dict, get_env_spec_dict
from minari.dataset.from_buffers import create_dataset_from_buffers
from minari.dataset.from_buffers import generate_dataset_metadata as _generate_dataset_metadata
from minari.dataset.minari_dataset import MinariDataset, gen_dataset_id, parse_dataset_id
from minari.dataset.scores import RandomPolicy, get_average_reference_score, get_normalized_score
from minari.dataset.split import split_dataset


__all__ = [
    "EpisodeBuffer",
    "MinariDataset",
    "MinariStorage",
    "RandomPolicy",
    "_generate_dataset_metadata",
    "_generate_dataset_path",
    "combine_datasets",
    "create_dataset_from_buffers",
    "create_namespace",
    "gen_dataset_id",
    "get_average_reference_score",
    "get_dataset_path",
    "get_dataset_spec_dict",
    "get_env_spec_dict",
    "get_normalized_score",
    "list_local_namespaces",
    "parse_dataset_id",
    "split_dataset",
    "validate_datasets_to_combine",
]
