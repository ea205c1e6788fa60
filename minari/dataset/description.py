"""What a dataset and its environment are, as short texts for a page or a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec

from minari._model.env_spec import is_gymnasiums_own, spaces_of
from minari._model.format_version import is_compatible
from minari._model.metadata_json import texts_of
from minari._storages.base import MinariStorage
from minari.errors import EnvironmentSpecError, EpisodeError
from minari.progress import track
from minari.spaces.serialization import deserialize_space


__all__ = ["describe_env_spec", "get_dataset_spec_dict", "get_env_spec_dict"]

_NOT_PROVIDED = "Not provided"
# The fields of a spec that say what is made and how, and whether they are shown as code.
_SPEC_FIELDS = {
    "entry_point": True,
    "max_episode_steps": False,
    "reward_threshold": False,
    "nondeterministic": True,
    "order_enforce": True,
    "disable_env_checker": True,
    "kwargs": True,
    "additional_wrappers": True,
    "vector_entry_point": True,
}


def get_dataset_spec_dict(dataset_spec: Mapping[str, Any]) -> dict[str, str]:
    """Describe a dataset by its metadata; the values are Markdown.

    >>> description = get_dataset_spec_dict(
    ...     {"dataset_id": "toy/a-v0", "total_episodes": 2, "total_steps": 9, "minari_version": "0.5.4"}
    ... )
    >>> description["Total Steps"], description["Author"], description["Minari Version"]
    ('9', 'Not provided', '`0.5.4` (supported)')

    Args:
        dataset_spec: the metadata of the dataset, as ``MinariStorage.metadata`` has them or as they
            are stored. Of what is missing it says so; a space that is missing has no entry.

    Raises:
        SpaceError: a stored space is damaged or of a type that is not registered.
    """
    description = {
        "Total Steps": _text(dataset_spec.get("total_steps")),
        "Total Episodes": _text(dataset_spec.get("total_episodes")),
    }
    for key, title in (("observation_space", "Observation"), ("action_space", "Action")):
        space = dataset_spec.get(key)
        if space is not None:
            space = deserialize_space(space) if isinstance(space, (str, dict)) else space
            inferred = " (inferred from the data)" if dataset_spec.get("inferred_spaces") else ""
            description[f"Dataset {title} Space"] = f"{_code(space)}{inferred}"
    permalink = dataset_spec.get("code_permalink")
    version = dataset_spec.get("minari_version")
    return {
        **description,
        "Algorithm": _text(dataset_spec.get("algorithm_name")),
        "Author": _names(dataset_spec.get("author")),
        "Email": _names(dataset_spec.get("author_email")),
        "Code Permalink": f"[{permalink}]({permalink})" if permalink else _NOT_PROVIDED,
        "Minari Version": f"{_code(version)} ({'supported' if is_compatible(version) else 'not supported'})",
        "Download": _code(f"minari download {dataset_spec.get('dataset_id')}"),
    }


def get_env_spec_dict(env_spec: EnvSpec) -> dict[str, str]:
    """Describe an environment by its spec; the values are Markdown.

    An environment that Gymnasium itself brings is made for its spaces. Others have no entry for them, since
    the spec may come from somebody else's data, and the code that it names is not run.

    >>> import gymnasium
    >>> description = get_env_spec_dict(gymnasium.spec("CartPole-v1"))
    >>> description["ID"], description["Action Space"], description["max_episode_steps"]
    ('CartPole-v1', '`Discrete(2)`', '500')
    """
    fields = describe_env_spec(env_spec)
    if not is_gymnasiums_own(env_spec):
        return fields
    try:
        observation_space, action_space = spaces_of(env_spec)
    except EnvironmentSpecError:
        return fields
    described_spaces = {"Observation Space": _code(observation_space), "Action Space": _code(action_space)}
    return {"ID": fields.pop("ID"), **described_spaces, **fields}


def describe_env_spec(env_spec: EnvSpec) -> dict[str, str]:
    """What :func:`get_env_spec_dict` says, without the spaces: no code of the environment is run."""
    values = {name: getattr(env_spec, name, None) for name in _SPEC_FIELDS}
    fields = {name: _code(value) if _SPEC_FIELDS[name] else str(value) for name, value in values.items()}
    return {"ID": env_spec.id, **fields}


def _code(value: object) -> str:
    return f"`{value}`"


def _text(value: object) -> str:
    return _NOT_PROVIDED if value is None else str(value)


def _names(names: object) -> str:
    """Names in order, whether they come alone, in a list or in a set."""
    return ", ".join(sorted(texts_of(names))) or _NOT_PROVIDED


@dataclass(frozen=True, slots=True, eq=False)
class DatasetStatistics:
    """What the episodes of a dataset, or of a view, add up to.

    Attributes:
        returns: the undiscounted return of each episode, shape (E,), or (E, k) where the rewards have k
            components.
        lengths: the number of steps of each episode, shape (E,).
    """

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    def summary(self) -> dict[str, dict[str, Any]]:
        """Minimum, mean, maximum and standard deviation of both; empty for a view without episodes.

        Where the rewards have several components, those of the returns are lists with one number for each.
        """
        if not len(self.returns):
            return {}
        return {"return": _summary(self.returns), "length": _summary(self.lengths)}


def _summary(values: npt.NDArray[Any]) -> dict[str, Any]:
    return {
        "min": values.min(axis=0).astype(float).tolist(),
        "mean": values.mean(axis=0).tolist(),
        "max": values.max(axis=0).astype(float).tolist(),
        "std": values.std(axis=0).tolist(),
    }


def statistics_of(storage: MinariStorage, indices: npt.NDArray[np.int_]) -> DatasetStatistics:
    """The statistics of some episodes, from their rewards.

    Raises:
        EpisodeError: the rewards of one have another number of components than those of another.
    """
    episodes = track(storage.get_episodes(indices), "adding up the rewards", total=len(indices))
    sums = [episode["rewards"].sum(axis=0) for episode in episodes]
    shapes = sorted(set(map(np.shape, sums)))
    if len(shapes) > 1:
        raise EpisodeError(
            f"The rewards of {storage.data_path} have the shapes {shapes} a step in different episodes, expected one "
            f"shape; take the returns of episodes that are alike, or `minari validate` the dataset."
        )
    returns = np.array(sums, np.float64)
    return DatasetStatistics(returns, storage.get_episode_lengths(indices))
