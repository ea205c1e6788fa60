"""Scripted policies for Pendulum, to record with ``minari record --policy examples.pendulum_policies:NAME``.

Each is a function from an observation (cosine and sine of the angle, angular velocity) to an action (a torque from -2
to 2), and knows one half of the task. The angle is 0 when the pendulum points up. Some of the torques are random, so
that the data have different actions in similar states.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


NOISE = 0.2
ENERGY_AT_THE_TOP = 5  # at rest, in the units of the environment: half of gravity times mass times length

Observation = npt.NDArray[np.float32]
Action = npt.NDArray[np.float32]


def swinging(observation: Observation) -> Action:
    """Push in the direction of motion until the energy is enough to reach the top, and fall down on the other side."""
    cosine, _, velocity = observation
    energy = velocity**2 / 6 + ENERGY_AT_THE_TOP * cosine
    return noisy(2 * np.sign(velocity) if energy < ENERGY_AT_THE_TOP else 0)


def balancing(observation: Observation) -> Action:
    """Push towards the top and brake, which holds the pendulum there, but is too weak to lift it."""
    cosine, sine, velocity = observation
    return noisy(-10 * np.arctan2(sine, cosine) - 2 * velocity)


def noisy(torque: float) -> Action:
    """Return the torque within its bounds, or with the probability ``NOISE`` a random one.

    The generator is NumPy's global one, which ``minari record --seed`` seeds.
    """
    chosen = np.random.uniform(-2, 2) if np.random.random() < NOISE else np.clip(torque, -2, 2)
    return np.array([chosen], np.float32)
