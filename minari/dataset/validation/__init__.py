"""Validation of a dataset: consistency of its files, plausibility of its values, and their checksums.

A check yields a :class:`Finding` for each problem. Those in :data:`DATASET_CHECKS` examine the open dataset, those in
:data:`EPISODE_CHECKS` one episode after the other; those in :data:`RUNNING_CHECKS` see all episodes and yield one
finding about each leaf at the end. Further checks are added to these lists.
"""

from minari.dataset.validation.examined import Examined, ReadEpisode, RunningCheck
from minari.dataset.validation.findings import LEVELS, Finding, Report
from minari.dataset.validation.passes import DATASET_CHECKS, EPISODE_CHECKS, RUNNING_CHECKS, validate
from minari.dataset.validation.places import find_data_path
from minari.dataset.validation.profiles import PROFILES, missing_metadata
from minari.dataset.validation.repairs import repair


__all__ = [
    "DATASET_CHECKS",
    "EPISODE_CHECKS",
    "LEVELS",
    "PROFILES",
    "RUNNING_CHECKS",
    "Examined",
    "Finding",
    "ReadEpisode",
    "Report",
    "RunningCheck",
    "find_data_path",
    "missing_metadata",
    "repair",
    "validate",
]
