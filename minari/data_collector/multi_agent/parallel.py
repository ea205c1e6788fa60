"""The collector of an environment whose agents act together: PettingZoo's ``ParallelEnv``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minari._base.warnings import warn
from minari._model.multi_agent import AgentID
from minari.data_collector.multi_agent.base import AgentsCollector
from minari.data_collector.multi_agent.trajectories import UNSEEN, Outcome, Trajectory, came_back


class ParallelCollector(AgentsCollector):
    """Collector of an environment whose agents act together."""

    #: What the last step has recorded; the next episode begins with it unless the environment is reset.
    _last: dict[AgentID, tuple[Any, dict[str, Any]]]

    def _take_reset(self, result: Any) -> None:
        observations, infos = result
        alive = self._agents()
        for agent in observations:
            if agent in alive:
                self._appear(agent, observations, infos, 0)
        self._last = {}

    def _appear(self, agent: AgentID, observations: Any, infos: Any, timestep: int, reward: Any = 0.0) -> None:
        trajectory = self._trajectory(agent)
        if trajectory is not None:
            trajectory.start(self.env, observations[agent], _get(infos, agent, {}), timestep)
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
        turn, acting = running.turn, self._act(actions)
        before = {trajectory: len(trajectory) for trajectory in running.alive}
        try:
            result = self.env.step(actions)
            running.turn = turn + 1
            if self._record_state:
                self._add_state()
            self._take_step(result, acting)
        except BaseException:
            self._undo_step(turn, before)
            raise
        if running.have_ended(self._agents()):
            self._end_episode()
        else:
            for warning in running.take_warnings() if running.has_warnings else ():
                warn(warning)
            if running.turn >= self._capacity:
                self._free_memory((result, actions))
        return result

    def _act(self, actions: Any) -> list[Trajectory]:
        """Keep the actions before the environment can modify them; return whose they are."""
        acting: list[Trajectory] = []
        if not isinstance(actions, Mapping):
            return acting
        taking_part = self._running.taking_part
        for agent, action in actions.items():
            trajectory = taking_part.get(agent)
            if trajectory is None or action is None or not trajectory.started:
                continue
            if not trajectory.is_over:
                trajectory.act(action)
                acting.append(trajectory)
            elif agent in self._agents():
                self._running.note(came_back(agent))
        return acting

    def _take_step(self, result: Any, acting: list[Trajectory]) -> None:
        observations, rewards, terminations, truncations, infos = result
        running, turn, alive = self._running, self._running.turn, set(self._agents())
        for trajectory in running.alive:
            agent = trajectory.agent
            outcome = Outcome(
                _get(observations, agent, UNSEEN),
                _get(rewards, agent, 0.0),
                _get(terminations, agent, False),
                _get(truncations, agent, False),
                _get(infos, agent, {}),
            )
            if trajectory.is_open:
                trajectory.complete(self.env, outcome, turn)
            elif outcome.is_last or (agent in alive and (outcome.observation is not UNSEEN or agent in rewards)):
                trajectory.amend(self.env, outcome, turn)
            if agent not in alive and not trajectory.is_over:
                trajectory.leave()
        for agent in observations:
            if agent in alive and agent not in running.taking_part:
                self._appear(agent, observations, infos, turn, _get(rewards, agent, 0.0))

    def _undo_step(self, turn: int, before: Mapping[Trajectory, int]) -> None:
        """Drop what an error has left of a step."""
        running = self._running
        running.turn = turn
        running.cut_state(turn + 1)
        for trajectory, steps in before.items():
            trajectory.cut(steps)
        for trajectory in list(running.taking_part.values()):
            if trajectory not in before and not trajectory.is_over:
                del running.taking_part[trajectory.agent]

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


def _get(values: Any, agent: AgentID, default: Any) -> Any:
    """Return the value of an agent, without making one in a dict that makes missing values."""
    return values[agent] if isinstance(values, Mapping) and agent in values else default
