"""The collector of an environment whose agents act together: PettingZoo's ``ParallelEnv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minari._base.json_text import shortened
from minari._base.warnings import warn
from minari._model.multi_agent import AgentID
from minari.data_collector.multi_agent.base import AgentsCollector
from minari.data_collector.multi_agent.trajectories import UNSEEN, Outcome, Trajectory, came_back
from minari.errors import EpisodeTypeError


class ParallelCollector(AgentsCollector):
    """Collector of an environment whose agents act together."""

    #: Values recorded by the last step; the next episode begins with them unless the environment is reset.
    _last: dict[AgentID, tuple[Any, dict[str, Any]]]

    def _take_reset(self, result: Any) -> None:
        if not isinstance(result, tuple) or len(result) != 2:
            raise EpisodeTypeError(
                f"The reset of the environment returned {shortened(result)}, expected observations and infos, each by "
                f"agent; update the environment to the API of PettingZoo 1.25 or later."
            )
        observations, infos = map(_by_agent, result)
        alive = self._agents()
        for agent in observations:
            if agent in alive:
                self._appear(agent, observations, infos, 0)
        self._last = {}

    def _appear(self, agent: AgentID, observations: Any, infos: Any, timestep: int, reward: Any = 0.0) -> None:
        trajectory = self._trajectory(agent)
        if trajectory is not None:
            trajectory.start(self.env, observations[agent], infos.get(agent, _NO_INFO), timestep)
            trajectory.earn_early(reward)

    def step(self, actions: Any) -> Any:
        """Step the environment and record the result.

        After the end of an episode, or a save, a step without a reset begins a new one, from the last recorded
        observations and infos of the agents that are still alive.

        Args:
            actions: the action of each agent.

        Returns:
            The result of the environment.
        """
        running = self._running
        if not running.started:
            self._check_was_reset()
            self._end_episode()  # if an interruption occurred in between
            if not self._agents():
                return self.env.step(actions)  # (nobody is left)
            self._start_again()
        turn, before = running.turn, [(trajectory, len(trajectory.recorder)) for trajectory in running.alive]
        try:
            self._act(actions)
            result = self.env.step(actions)
            running.turn = turn + 1
            if self._record_state:
                self._add_state()
            self._take_step(result, [trajectory for trajectory, _ in before])
        except BaseException:
            self._undo_step(turn, before)
            raise
        if running.have_ended(self._agents()):
            self._end_episode()
        else:
            for warning in running.take_warnings() if running.has_warnings else ():
                warn(warning)
            if running.turn >= self._capacity:
                self._free_memory(running.turn, (result, actions))
        return result

    def _act(self, actions: Any) -> None:
        """Keep the actions before the environment can modify them."""
        if not isinstance(actions, Mapping):
            return
        taking_part = self._running.taking_part
        for agent, action in actions.items():
            trajectory = taking_part.get(agent)
            if trajectory is None or action is None:
                continue
            if not trajectory.is_over:
                trajectory.act(action)
            elif trajectory.has_left and agent in self._agents():
                self._running.note(came_back(agent))

    def _take_step(self, result: Any, were_alive: Sequence[Trajectory]) -> None:
        observations, rewards, terminations, truncations, infos = map(_by_agent, result)
        running, env, turn, alive = self._running, self.env, self._running.turn, set(self._agents())
        for trajectory in were_alive:
            agent = trajectory.agent
            outcome = Outcome(
                observations.get(agent, UNSEEN),
                rewards.get(agent, 0.0),
                terminations.get(agent, False),
                truncations.get(agent, False),
                infos.get(agent, _NO_INFO),
            )
            if trajectory.is_open:
                trajectory.complete(env, outcome, turn)
            elif outcome.is_last or (agent in alive and (outcome.observation is not UNSEEN or agent in rewards)):
                trajectory.amend(env, outcome, turn)
            if not trajectory.is_over and agent not in alive:
                trajectory.leave()
        if len(observations) > len(were_alive) or alive - running.taking_part.keys():
            for agent in observations:
                if agent in alive and agent not in running.taking_part:
                    self._appear(agent, observations, infos, turn, rewards.get(agent, 0.0))

    def _undo_step(self, turn: int, before: Sequence[tuple[Trajectory, int]]) -> None:
        """Drop what an error has left of a step."""
        running = self._running
        running.turn = turn
        running.cut_state(turn + 1)
        for trajectory, steps in before:
            trajectory.cut(steps)
        were_alive = {trajectory.agent for trajectory, _ in before}
        for agent, trajectory in list(running.taking_part.items()):
            if agent not in were_alive and not trajectory.is_over:
                del running.taking_part[agent]

    def _start_again(self) -> None:
        self._start(None, None)
        for agent in self._agents():
            if agent in self._last:
                trajectory = self._trajectory(agent)
                if trajectory is not None:
                    trajectory.start_again(*self._last[agent], 0)

    def _keep_last_values(self) -> None:
        alive = self._agents()
        self._last = {agent: each.last_values() for agent, each in self._running.taking_part.items() if agent in alive}


_NO_INFO: dict[str, Any] = {}


def _by_agent(values: Any) -> Mapping[Any, Any]:
    """Return the values of agents; none if they are no mapping, such as the infos of a simple environment."""
    return values if isinstance(values, Mapping) else {}
