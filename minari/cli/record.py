"""``minari record``: runs a policy in an environment and saves a dataset."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import signal
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
import typer

import minari
from minari._catalog.layout import dataset_exists, free_dataset_path, get_dataset_path
from minari._model.dataset_id import DatasetId
from minari._model.env_spec import env_spec_to_json, environment_error, specs_equal_up_to_max_episode_steps
from minari._model.frame_stack import DEDUPLICATE, KEEP, FrameStackChoice
from minari.cli.bars import recording_bar
from minari.cli.options import parse_compression, parse_env_kwargs
from minari.cli.progress import progress_bars
from minari.cli.rollouts.agents import check_agents, find_agents_policy, make_agents_environment, play_agents
from minari.cli.rollouts.episodes import (
    RANDOM,
    Goal,
    Tally,
    find_policy,
    place_of,
    roll_out,
    seed_generators,
    seed_policies,
)
from minari.cli.rollouts.vector import drop_surplus, find_vector_policy, play_vector
from minari.cli.running import UsageError
from minari.cli.terminal import counted, echo, warn
from minari.data_collector.vector.collector import single_spec
from minari.errors import (
    CombineError,
    DatasetNotFoundError,
    EpisodeError,
    MinariError,
    MissingMetadataWarning,
    UnfitEpisodeWarning,
)


__all__ = ["record"]

_DEFAULT_EPISODES = 10
# Prefixes of the ids of environments that are registered by importing their package.
_PACKAGES = {"MiniGrid-": "minigrid", "BabyAI-": "minigrid", "MiniWorld-": "miniworld", "ALE/": "ale_py"}


Collector: TypeAlias = "minari.DataCollector | minari.VectorDataCollector | minari.MultiAgentDataCollector"


class RecordingError(MinariError, RuntimeError):
    """The environment or the policy failed during the recording."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A recording as the user requested it; the fields are the options of the command."""

    env_id: str
    dataset_id: str
    episodes: int | None
    steps: int | None
    policy: str
    seed: int | None
    env_kwargs: str | None
    data_format: str | None
    compression: list[str] | None
    record_infos: bool
    append: bool
    author: list[str] | None
    author_email: list[str] | None
    algorithm_name: str | None
    description: str | None
    code_permalink: str | None
    eval_env: str | None
    num_envs: int | None
    vectorization: str | None
    pettingzoo: str | None
    record_state: bool
    frame_stack: FrameStackChoice | None

    @property
    def goal(self) -> Goal:
        """Amount to record."""
        is_open = self.episodes is None and self.steps is None
        return Goal(_DEFAULT_EPISODES if is_open else self.episodes, self.steps)

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata given by the user; None for what is missing."""
        names = ("author", "author_email", "algorithm_name", "description", "code_permalink", "eval_env")
        return {name: getattr(self, name) or None for name in names}


def record(plan: Plan) -> None:
    """Record a dataset, and print a summary.

    Invalid options are reported before the first step. Steps recorded before a failure or an interruption are
    saved nevertheless.
    """
    sys.path.insert(0, str(Path.cwd()))  # where the user's own environments and policies are
    _check_options(plan)
    env = _make_environment(plan)
    try:
        dataset = _existing_dataset(plan, env) if plan.append else None
        first_episode = dataset.total_episodes if dataset else 0
        policy = _find_policy(plan, env, None if plan.seed is None else plan.seed + first_episode)
        collector = _make_collector(plan, env)
    except BaseException:
        env.close()
        raise
    try:
        with recording_bar(f"Recording {plan.dataset_id}", plan.goal) as report, _leave_out_unfit_infos(collector):
            tally = roll_out(
                collector,
                policy,
                plan.goal,
                seed=plan.seed,
                first_episode=first_episode,
                report=report,
                play=play_agents if plan.pettingzoo else play_vector if plan.num_envs else None,
            )
            if isinstance(collector, minari.VectorDataCollector) and tally.reaches(plan.goal):
                drop_surplus(collector, plan.goal)
            if tally.signal == getattr(signal, "SIGHUP", None):
                _let_go_of_terminal()
        if tally.steps:
            _save(plan, collector, dataset)
    finally:
        collector.close()
    _conclude(plan, tally)


def _find_policy(plan: Plan, env: Any, seed: int | None) -> Callable[..., Any]:
    if plan.pettingzoo is not None:
        if seed is not None:
            seed_generators(seed)
        return find_agents_policy(plan.policy, env, seed)
    if seed is not None:
        seed_policies(env, seed)
    if plan.num_envs is not None:
        return find_vector_policy(plan.policy, env)
    return find_policy(plan.policy, env)


def _make_collector(plan: Plan, env: Any) -> Collector:
    options: dict[str, Any] = {
        "record_infos": plan.record_infos,
        "data_format": plan.data_format,
        "compression": parse_compression(plan.compression),
    }
    if plan.pettingzoo is None:
        options["frame_stack"] = plan.frame_stack or KEEP
        return (minari.DataCollector if plan.num_envs is None else minari.VectorDataCollector)(env, **options)
    return minari.MultiAgentDataCollector(env, record_state=plan.record_state, **options)


def _let_go_of_terminal() -> None:
    """Stop writing to a terminal that has gone, which would raise an error before anything is saved."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(nowhere, stream)
    os.close(nowhere)


def _check_options(plan: Plan) -> None:
    """Check the options that can be checked without the environment."""
    if plan.episodes is not None and plan.steps is not None:
        raise UsageError("Both --episodes and --steps are given, expected one of them; leave one out.")
    DatasetId.parse(plan.dataset_id)
    if not plan.append:
        free_dataset_path(plan.dataset_id)
    else:
        fixed = {
            **plan.metadata,
            "format": plan.data_format,
            "compression": plan.compression,
            "frame_stack": plan.frame_stack,
        }
        given = ", ".join(f"--{name.replace('_', '-')}" for name, value in fixed.items() if value)
        if given:
            raise UsageError(f"With --append the dataset keeps its own metadata and format; leave out {given}.")
    if plan.eval_env is not None:
        env_spec_to_json(plan.eval_env)
    if plan.record_state and plan.pettingzoo is None:
        raise UsageError("--record-state is given without --pettingzoo, expected an environment of many agents.")
    if plan.frame_stack == DEDUPLICATE and plan.pettingzoo is not None:
        raise UsageError("--frame-stack deduplicate is given with --pettingzoo, expected one agent; leave one out.")
    if plan.num_envs is not None and plan.pettingzoo is not None:
        raise UsageError("Both --num-envs and --pettingzoo are given, expected one of them; leave one out.")
    if plan.vectorization is not None and plan.num_envs is None:
        raise UsageError("--vectorization is given without --num-envs, expected the number of environments.")


def _make_environment(plan: Plan) -> Any:
    arguments = parse_env_kwargs(plan.env_kwargs)
    if plan.pettingzoo is not None:
        return make_agents_environment(plan.pettingzoo, arguments)
    try:
        package = next((name for start, name in _PACKAGES.items() if plan.env_id.startswith(start)), None)
        if package is not None and plan.env_id not in gym.registry and importlib.util.find_spec(package) is not None:
            importlib.import_module(package)  # which registers the environment
        if plan.num_envs is not None:
            mode = plan.vectorization or "sync"
            return gym.make_vec(plan.env_id, num_envs=plan.num_envs, vectorization_mode=mode, **arguments)
        return gym.make(plan.env_id, **arguments)
    except Exception as error:  # an environment may raise anything
        kind = "" if isinstance(error, gym.error.Error) else f"{type(error).__name__}: "
        raise environment_error(f"The environment {plan.env_id!r} cannot be made: {kind}{error}", error) from error


def _existing_dataset(plan: Plan, env: Any) -> minari.MinariDataset:
    """Return the dataset to append to, which must be of the same environment."""
    path = get_dataset_path(plan.dataset_id)
    if not dataset_exists(path):
        raise DatasetNotFoundError(f"There is no dataset at {path} to add to; leave out --append to make it.")
    dataset = minari.load_dataset(plan.dataset_id)
    if plan.pettingzoo is not None:
        check_agents(dataset, env)
        return dataset
    is_vector = isinstance(env, gym.vector.VectorEnv)
    spec, our_spec = dataset.env_spec, single_spec(env) if is_vector else env.spec
    if spec is not None and our_spec is not None and not specs_equal_up_to_max_episode_steps(spec, our_spec):
        theirs = spec.id if spec.id != our_spec.id else f"{spec.id} with other arguments or wrappers"
        raise CombineError(
            f"The dataset {plan.dataset_id} was recorded in {theirs}, not in {plan.env_id} as it would be made "
            "now; record a dataset of its own."
        )
    for name in ("observation_space", "action_space"):
        theirs, ours = getattr(dataset, name), getattr(env, f"single_{name}" if is_vector else name)
        if theirs != ours:
            raise CombineError(f"The {name} of the dataset {plan.dataset_id} is {theirs}, not {ours}.")
    return dataset


def _save(plan: Plan, collector: Collector, dataset: minari.MinariDataset | None) -> None:
    if dataset is not None:
        _store(collector, lambda: collector.add_to_dataset(dataset))
        return
    metadata = {**plan.metadata, "algorithm_name": plan.algorithm_name or plan.policy}
    # One hint replaces the warnings about missing metadata.
    with _warnings_handled(lambda warning: isinstance(warning, MissingMetadataWarning)):
        _store(collector, lambda: collector.create_dataset(plan.dataset_id, **metadata))
    missing = [name.replace("_", " ") for name, value in metadata.items() if value is None and name != "eval_env"]
    if missing:
        echo(f"Hint: the dataset has no {', '.join(missing)}; `minari record --help` shows how to give them.", err=True)


def _store(collector: Collector, store: Callable[[], object]) -> None:
    """Store the recording without infos that cannot be stored, as the user has no way to drop them."""
    left_out: set[str] = set()
    while True:
        try:
            with progress_bars():
                store()
            return
        except EpisodeError as error:
            unfit = error.info_path
            if unfit is None or unfit in left_out:
                raise
            left_out.add(unfit)
            collector.discard_info(unfit)
            warn(f"The info {unfit!r} is left out: {error.problem}.")


@contextmanager
def _warnings_handled(handle: Callable[[Warning | str], bool]) -> Iterator[None]:
    """Pass the warnings in the ``with`` block to a function; those for which it returns False are shown."""
    show_warning = warnings.showwarning

    def show_others(message: Warning | str, *arguments: Any, **options: Any) -> None:
        if not handle(message):
            show_warning(message, *arguments, **options)

    warnings.showwarning = show_others
    try:
        yield
    finally:
        warnings.showwarning = show_warning


def _leave_out_unfit_infos(collector: Collector) -> AbstractContextManager[None]:
    """Drop infos that cannot be stored as soon as an episode with them ends, so that it can be written."""
    left_out: set[str] = set()

    def leave_out(warning: Warning | str) -> bool:
        error = warning.error if isinstance(warning, UnfitEpisodeWarning) else None
        if not isinstance(error, EpisodeError) or error.info_path is None:
            return False
        collector.discard_info(error.info_path)
        if error.info_path not in left_out:
            left_out.add(error.info_path)
            warn(f"The info {error.info_path!r} is left out: {error.problem}.")
        return True

    return _warnings_handled(leave_out)


def _conclude(plan: Plan, tally: Tally) -> None:
    """Print what was recorded, and how to continue if that is less than was requested."""
    if tally.steps:
        verb = "extended" if plan.append else "recorded"
        echo(
            f"Dataset {plan.dataset_id} {verb}: {counted(tally.episodes, 'episode')}, {counted(tally.steps, 'step')}, "
            f"mean return {tally.mean_return:.6g}, at {get_dataset_path(plan.dataset_id)}"
        )
    if tally.reaches(plan.goal):
        return
    kept = "nothing was recorded"
    if tally.steps:
        kept = f"{counted(tally.episodes, 'episode')} {'is' if tally.episodes == 1 else 'are'} kept"
    cut = ", the last of them truncated" if tally.episodes > tally.finished else ""
    echo(f"The recording ended early: {kept}{cut}. To continue: {_continuation(plan, tally)}", err=True)
    if tally.signal is not None:
        raise typer.Exit(128 + tally.signal)
    raise RecordingError(
        f"The environment or the policy failed with {type(tally.failure).__name__}: {tally.failure}"
        f"{place_of(tally.failure) if tally.failure is not None else ''}"
    ) from tally.failure


def _continuation(plan: Plan, tally: Tally) -> str:
    """Return the command that records the rest."""
    goal = plan.goal
    words = ["minari", "record", plan.env_id, "--dataset-id", plan.dataset_id]
    if goal.steps is not None:
        words += ["--steps", str(goal.steps - tally.steps)]
    else:
        words += ["--episodes", str((goal.episodes or 0) - tally.finished)]
    words += ["--policy", plan.policy] if plan.policy != RANDOM else []
    words += ["--seed", str(plan.seed)] if plan.seed is not None else []
    words += ["--env-kwargs", plan.env_kwargs] if plan.env_kwargs is not None else []
    words += ["--record-infos"] if plan.record_infos else []
    words += ["--num-envs", str(plan.num_envs)] if plan.num_envs is not None else []
    words += ["--vectorization", plan.vectorization] if plan.vectorization is not None else []
    words += ["--pettingzoo", plan.pettingzoo] if plan.pettingzoo is not None else []
    words += ["--record-state"] if plan.record_state else []
    if plan.append or tally.steps:
        return shlex.join([*words, "--append"])
    for name, value in plan.metadata.items():
        for text in value if isinstance(value, list) else [value] if value else []:
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)
