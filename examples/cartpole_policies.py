"""Scripted policies for CartPole, to record with ``minari record --policy examples.cartpole_policies:NAME``.

Each is a function from an observation (position, velocity, angle, angular velocity) to an action (0 pushes the cart to
the left, 1 to the right). Some of their actions are random, as those of people and of learning agents are: a policy
that is cloned from the data then knows what to do in states that the script alone would never reach.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


NOISE = 0.2

Observation = npt.NDArray[np.float32]


def steady(observation: Observation) -> int:
    """Push to the side to which the pole is about to fall, and back to the center: 500 steps."""
    position, velocity, angle, angular_velocity = observation
    return noisy(angle + 0.3 * angular_velocity + 0.02 * position + 0.05 * velocity > 0)


def slanted(observation: Observation) -> int:
    """Balance the pole at a slant, which drives the cart off the track: about 170 steps."""
    return noisy(observation[2] + 0.3 * observation[3] > 0.05)


def careless(observation: Observation) -> int:
    """Push to the side to which the pole points, however fast it already swings back: about 40 steps."""
    return noisy(observation[2] > 0)


def noisy(to_the_right: bool | np.bool_) -> int:
    """Return the action, or with the probability ``NOISE`` a random one.

    The generator is NumPy's global one, which ``minari record --seed`` seeds.
    """
    return int(np.random.randint(2) if np.random.random() < NOISE else to_the_right)
