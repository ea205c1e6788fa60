"""TorchRL: datasets as replay buffers of TensorDicts, and replay buffers as datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.env_spec import spaces_of, spec_of
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import ArgumentError, ArgumentTypeError, MissingDependencyError
from minari.integrations._replay import (
    Steps,
    check_arrays,
    checked_dataset,
    continues,
    create_dataset,
    in_chunks,
    map_leaves,
    names,
    warn_about_lost_columns,
)


try:
    import torch
    from tensordict import TensorDict, TensorDictBase
    from torchrl.data import LazyTensorStorage, ReplayBuffer, Storage, TensorDictReplayBuffer
except ImportError as error:
    raise MissingDependencyError(
        'minari.integrations.torchrl needs TorchRL, which is not installed; run pip install "minari[torchrl]".',
        name="torchrl",
    ) from error


__all__ = ["from_replay_buffer", "to_replay_buffer"]

_TRAJECTORIES: Final = ("collector", "traj_ids")
_DONE: Final = frozenset({"done", "terminated", "truncated"})
#: Entries of a step that are not observations.
_OTHERS: Final = frozenset({"action", "collector", "index", "is_init", "next", "reward", "step_count"}) | _DONE
_WITHOUT: Final = frozenset({"uint16", "uint32", "uint64"})  # PyTorch does not index them


def to_replay_buffer(
    dataset: MinariDataset, *, storage: Storage | None = None, **options: Any
) -> TensorDictReplayBuffer:
    """Return the steps of a dataset or view as a replay buffer, in order.

    The steps have the layout of TorchRL's collectors. ``("collector", "traj_ids")`` is the number of the episode in
    the view, so that ``SliceSampler(traj_key=("collector", "traj_ids"))`` samples parts of single episodes, also of
    those that were cut without an end.

    Args:
        dataset: a dataset, or a view of one, with observations and actions of a ``Box``, a ``Discrete`` or similar, or
            a ``Dict`` of them.
        storage: where the steps are stored; by default a ``LazyTensorStorage`` of their number. A
            ``LazyMemmapStorage`` is for data that does not fit into memory.
        **options: of ``TensorDictReplayBuffer``, such as ``batch_size``, ``sampler`` and ``transform``.

    Returns:
        A buffer with ``observation`` and ``action`` (nested for a ``Dict``) and their dtypes, ``done``, ``terminated``
        and ``truncated`` (N, 1), false as the state before a step is not an end, and in ``next`` the observation
        after the step, ``reward`` (N, 1) or (N, k) as stored, and the three flags of the step. ``Discrete`` values
        are numbers, not one-hot.

    Warns:
        UserWarning: what the buffer does not keep: infos, or steps after an early termination.

    Raises:
        SpaceError: the observations or actions are tuples or have no fixed shape, or are unsigned numbers of more than
            8 bits.
        ArgumentError: the storage is too small.
    """
    checked_dataset(dataset)
    count = dataset.total_steps
    storage = LazyTensorStorage(count) if storage is None else storage
    if storage.max_size < count:
        raise ArgumentError(
            f"The storage has room for {storage.max_size} steps and {dataset.id} has {count}, expected at least that "
            f"many; give a larger one."
        )
    buffer = TensorDictReplayBuffer(storage=storage, **options)
    episode, is_first = 0, True
    for batch, ends in in_chunks(dataset):
        if is_first:
            is_first = False
            for field in ("observations", "actions"):
                check_arrays(batch[field], field, "TorchRL's buffer", _WITHOUT)
            warn_about_lost_columns(
                dataset, "TorchRL's buffer", infos=True, early_ends="samplers take the next one for another episode"
            )
        trajectories = episode + np.cumsum(ends) - ends
        episode = int(trajectories[-1] + ends[-1])
        buffer.extend(_layout(batch, trajectories))
    return buffer


def _layout(batch: Mapping[str, Any], trajectories: npt.NDArray[np.int64]) -> TensorDict:
    """Return transitions as TorchRL's collectors do."""
    count = len(trajectories)
    rewards = batch["rewards"]
    flags = {"terminated": batch["terminations"], "truncated": batch["truncations"]}
    flags["done"] = flags["terminated"] | flags["truncated"]
    following = {key: torch.from_numpy(values[:, None]) for key, values in flags.items()}
    return TensorDict(
        {
            "observation": _tensors(batch["observations"]),
            "action": _tensors(batch["actions"]),
            **{key: torch.zeros(count, 1, dtype=torch.bool) for key in _DONE},
            "collector": {"traj_ids": torch.from_numpy(trajectories)},
            "next": {
                "observation": _tensors(batch["next_observations"]),
                "reward": torch.from_numpy(rewards[:, None] if rewards.ndim == 1 else rewards),
                **following,
            },
        },
        [count],
    )


def _tensors(tree: Any) -> Any:
    return map_leaves(torch.from_numpy, tree)


def from_replay_buffer(
    buffer: ReplayBuffer | TensorDictBase,
    dataset_id: str,
    *,
    observation_keys: Iterable[str] | None = None,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    **options: Any,
) -> MinariDataset:
    """Create a dataset of the steps of a replay buffer.

    Steps belong to one episode if they have the same ``("collector", "traj_ids")``, where the buffer has it, and each
    begins with the observation that the one before ends with. Episodes that were not finished have no end. Where a
    space is ``Discrete``, one-hot values become numbers.

    Args:
        buffer: a replay buffer filled by a collector or by :func:`to_replay_buffer`, or a TensorDict of steps whose
            last dimension is time, as collectors return it.
        dataset_id: of the new dataset.
        observation_keys: the entries of the observation, which is a ``Dict`` of them, also if there is only one. By
            default, all entries that a step has before and after it, and an entry ``"observation"`` that is the only
            one is the observation itself.
        observation_space: by default that of ``env``, or inferred.
        action_space: by default that of ``env``, or inferred.
        **options: arguments of :func:`minari.create_dataset_from_buffers`, such as ``env`` and ``author``.

    Warns:
        UserWarning: a space is inferred, the buffer has wrapped around or has gaps, or it has entries that a dataset
            has no place for, such as log-probabilities.

    Raises:
        ArgumentError: the buffer is empty, or lacks the layout of collectors.
    """
    data, has_wrapped = _data_of(buffer)
    keys = _observation_keys(data, observation_keys)
    single = observation_keys is None and keys == ["observation"]
    known = {*keys, *_OTHERS}
    lost = {key for key in map(_path, data.keys(True, True)) if key[0] not in known or key[0] == "step_count"}
    if has_wrapped:
        warn("The buffer has overwritten its oldest steps, so that some episodes may lack their beginning.")
    if lost:
        warn(f"The entries {names(map(_name, lost))} of the buffer are left out, as a dataset has no place for them.")
    env = options.get("env")
    spaces = [_space(observation_space, env, 0), _space(action_space, env, 1)]

    def observations(of: TensorDictBase) -> Any:
        found = {key: _arrays(of.get(key), key) for key in keys}
        return _numbered(found["observation"] if single else found, spaces[0], "observations")

    following = data.get("next")
    before, after = observations(data), observations(following)
    flags = {key: _column(following, key).astype(bool) for key in _DONE & _keys(following)}
    done = flags["done"]
    terminations = flags.get("terminated", done & ~flags.get("truncated", np.zeros_like(done)))
    truncations = flags.get("truncated", done & ~terminations)
    rewards = _arrays(following.get("reward"), "reward")
    steps = Steps(
        observations=before,
        actions=_numbered(_arrays(data.get("action"), "action"), spaces[1], "actions"),
        rewards=rewards[:, 0] if rewards.ndim == 2 and rewards.shape[1] == 1 else rewards,
        terminations=terminations,
        truncations=truncations,
        ends=_ends(data, before, after, done | terminations | truncations),
        next_observations=after,
    )
    return create_dataset(
        dataset_id, steps.episodes(), observation_space=observation_space, action_space=action_space, options=options
    )


def _data_of(buffer: Any) -> tuple[TensorDictBase, bool]:
    """Return the steps one after the other, those of an episode in order, and whether older ones were overwritten."""
    has_wrapped = False
    if isinstance(buffer, ReplayBuffer):
        if not len(buffer):
            raise ArgumentError("The buffer has no step, expected at least one to make a dataset of.")
        data = buffer.storage[:]  # without the transforms of the buffer; time first
        count, written = len(data), getattr(buffer, "write_count", 0)
        if isinstance(data, list) and all(isinstance(step, TensorDictBase) for step in data):
            data = torch.stack(data)
        if isinstance(data, TensorDictBase):
            has_wrapped = written > count
            oldest = written % count if has_wrapped else 0
            data = torch.cat([data[oldest:], data[:oldest]]) if oldest else data
            data = data.permute(*range(1, data.ndim), 0) if data.ndim > 1 else data
    else:
        data = buffer
    if not isinstance(data, TensorDictBase) or not {"next", "action"} <= _keys(data):
        raise ArgumentTypeError(
            f"buffer is {shortened(buffer)}, expected a replay buffer or a TensorDict with the entries 'action' and "
            f"'next', as TorchRL's collectors fill it."
        )
    if 0 in data.batch_size:
        raise ArgumentError("The buffer has no step, expected at least one to make a dataset of.")
    data = data.reshape(-1)
    if _TRAJECTORIES in data.keys(True):
        _, first, trajectory = np.unique(_column(data, _TRAJECTORIES), return_index=True, return_inverse=True)
        order = np.argsort(first[trajectory], kind="stable")
        if (np.diff(order) != 1).any():
            data = data[torch.from_numpy(order)]
    missing = [key for key in ("reward", "done") if key not in _keys(data.get("next"))]
    if missing:
        raise ArgumentError(
            f"The steps of the buffer have no ('next', {missing[0]!r}), expected the layout of TorchRL's collectors; "
            f"add that entry."
        )
    return data, has_wrapped


def _observation_keys(data: TensorDictBase, given: Iterable[str] | None) -> list[str]:
    before, after = _keys(data), _keys(data.get("next"))
    both = sorted(key for key in before & after if key not in _OTHERS)
    if given is None:
        if not both:
            raise ArgumentError(
                f"The steps of the buffer have the entries {sorted(before)}, and no observation that is also in "
                f"'next'; expected the layout of TorchRL's collectors."
            )
        return both
    if isinstance(given, str) or not all(isinstance(key, str) for key in given):
        raise ArgumentTypeError(f"observation_keys is {shortened(given)}, expected a list of names.")
    keys = list(given)
    for key in keys:
        if key not in before & after:
            raise ArgumentError(f"observation_keys holds {key!r}, and the buffer has {both}; choose some of them.")
    return keys


def _keys(data: TensorDictBase) -> set[str]:
    return set(data.keys())


def _path(key: Any) -> tuple[str, ...]:
    """Return the path of an entry before a step, or of the same one after it."""
    parts = key if isinstance(key, tuple) else (key,)
    return parts[1:] if parts[0] == "next" else parts


def _name(key: Any) -> str:
    return "/".join(key) if isinstance(key, tuple) else str(key)


def _space(given: gym.Space[Any] | None, env: Any, position: int) -> Any:
    """Return a given space, or else that of the environment; 0 is that of the observations, 1 that of the actions."""
    if given is not None or env is None:
        return given
    if isinstance(env, gym.Env):
        return (env.observation_space, env.action_space)[position]
    spec = spec_of(env)
    return None if spec is None else spaces_of(spec)[position]


def _arrays(value: Any, name: str) -> Any:
    if isinstance(value, TensorDictBase):
        return {str(key): _arrays(part, f"{name}/{key}") for key, part in value.items()}
    if not isinstance(value, torch.Tensor) or value.dtype == torch.bfloat16:
        kind = value.dtype if isinstance(value, torch.Tensor) else shortened(value)
        raise ArgumentTypeError(
            f"The entry {name} of the buffer is {kind}, expected a tensor of numbers that NumPy has; convert it first."
        )
    return value.detach().cpu().numpy()


def _column(data: TensorDictBase, key: Any) -> npt.NDArray[Any]:
    """Return an entry with one value a step, shape (N,)."""
    values: npt.NDArray[Any] = _arrays(data.get(key), _name(key))
    return values.reshape(len(values), -1)[:, 0]


def _numbered(tree: Any, space: Any, name: str) -> Any:
    """Return values with numbers in place of one-hot vectors where the space is Discrete."""
    if isinstance(tree, Mapping):
        inner = space.spaces if isinstance(space, gym.spaces.Dict) else {}
        return {key: _numbered(part, inner.get(key), f"{name}/{key}") for key, part in tree.items()}
    if not isinstance(space, gym.spaces.Discrete) or tree.ndim == 1:
        return tree
    if tree.shape[1:] == (1,) and space.n > 1:
        return tree[:, 0]
    if tree.shape[1:] != (space.n,) or not (tree.astype(bool).sum(axis=1) == 1).all():
        raise ArgumentError(
            f"The {name} have the shape {tree.shape}, expected numbers or one-hot vectors of a {space}; give the space "
            f"that they belong to."
        )
    return tree.argmax(axis=1) + space.start


def _ends(data: TensorDictBase, before: Any, after: Any, done: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return where episodes end: after a step that is done, and before one that does not continue it."""
    follows = continues(before, after)
    is_gap = ~follows & ~done[:-1]
    if _TRAJECTORIES in data.keys(True):
        trajectory = _column(data, _TRAJECTORIES)
        changes = trajectory[1:] != trajectory[:-1]
        is_gap, gaps = is_gap | changes, int((is_gap & ~changes).sum())
        if gaps:
            warn(
                f"{gaps} episodes are split where a step does not begin with the observation that the one before ends "
                f"with; steps in between are missing, or the next observations are not those of the next step."
            )
    return np.append(done[:-1] | is_gap, True)
