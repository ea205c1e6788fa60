"""Names of releases before 0.5, for programs that still use them."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym

from minari._base.warnings import warn
from minari.data_collector.data_collector import DataCollector
from minari.dataset.minari_dataset import MinariDataset


class DataCollectorV0(DataCollector):
    """Deprecated name of :class:`~minari.DataCollector`."""

    def __init__(self, env: gym.Env[Any, Any], *args: Any, **kwargs: Any) -> None:
        warn("DataCollectorV0 is the older name of DataCollector; use that.", DeprecationWarning)
        with warnings.catch_warnings():
            # One warning is enough, even if deprecated arguments are given.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(env, *args, **kwargs)


def create_dataset_from_collector_env(
    dataset_id: str | None = None,
    collector_env: DataCollector | None = None,
    *,
    dataset_name: str | None = None,
    **description: Any,
) -> MinariDataset:
    """Deprecated form of :meth:`minari.DataCollector.create_dataset`.

    Args:
        dataset_id: id of the new dataset.
        collector_env: the collector.
        dataset_name: even older name of ``dataset_id``.
        **description: as in :meth:`~minari.DataCollector.create_dataset`.

    Raises:
        TypeError: the id or the collector is missing.
    """
    warn(
        "create_dataset_from_collector_env is the older form of DataCollector.create_dataset; use that.",
        DeprecationWarning,
    )
    new_id = dataset_id if dataset_id is not None else dataset_name
    if new_id is None or collector_env is None:
        raise TypeError("create_dataset_from_collector_env needs a dataset_id and a collector_env.")
    return collector_env.create_dataset(new_id, **description)
