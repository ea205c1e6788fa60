"""Vaults of Flashbax."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.rival import DTYPES, FLOAT32, Content, Draw, Rival
from benchmarks.rivals.source import FIELDS, Source


_NAMES = (*FIELDS, "next_observations")


class Vault(Rival):
    """The state of a buffer of JAX."""

    NAME = "vault"
    TITLE = "Vault, Flashbax"
    NOTE = "`Vault.write` of a trajectory buffer, `read`, and `sample`; its windows do not stop where episodes end."
    REQUIREMENTS = ("flashbax==0.1.3",)
    LOSES = frozenset({FLOAT32, DTYPES})

    def prepare(self) -> None:
        import flashbax.vault  # noqa: F401
        import jax.numpy  # noqa: F401

    def write(self, source: Source, path: Path) -> None:
        import jax.numpy as jnp
        from flashbax.buffers.trajectory_buffer import TrajectoryBufferState
        from flashbax.vault import Vault

        experience = {name: jnp.asarray(values)[None] for name, values in source.transitions().items()}
        state = TrajectoryBufferState(
            experience=experience, current_index=jnp.array(0, dtype=int), is_full=jnp.array(True, dtype=bool)
        )
        with redirect_stdout(sys.stderr):
            vault = Vault("episodes", state.experience, rel_dir=os.path.relpath(path), vault_uid="1")
        vault.write(state, source_interval=(0, source.steps))

    def open(self, path: Path) -> Any:
        from flashbax.vault import Vault

        with redirect_stdout(sys.stderr):
            return Vault("episodes", rel_dir=os.path.relpath(path), vault_uid="1").read()

    def read_all(self, opened: Any) -> Content:
        found = {name: np.array(opened.experience[name][0]) for name in _NAMES}
        ends = np.flatnonzero(found["terminations"] | found["truncations"]) + 1
        return {**found, "lengths": np.diff(ends, prepend=0)}

    def transitions(self, opened: Any, count: int, rng: np.random.Generator) -> Draw:
        import flashbax
        import jax

        buffer = flashbax.make_trajectory_buffer(
            add_batch_size=1,
            sample_batch_size=count,
            sample_sequence_length=1,
            period=1,
            min_length_time_axis=1,
            max_length_time_axis=opened.experience["rewards"].shape[1],
        )
        sample = jax.jit(buffer.sample)
        keys = [jax.random.PRNGKey(int(rng.integers(2**31)))]

        def draw() -> Mapping[str, Any]:
            keys[0], key = jax.random.split(keys[0])
            batch = jax.block_until_ready(sample(opened, key).experience)
            return {name: batch[name][:, 0] for name in _NAMES}

        return draw

    def windows(self, opened: Any, count: int, length: int, rng: np.random.Generator) -> None:
        return None
