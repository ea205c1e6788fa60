"""The collector of an environment whose agents act in turns: PettingZoo's ``AECEnv``."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from minari._base.json_text import shortened
from minari._base.plain_values import Unkept
from minari._base.warnings import warn
from minari._model.multi_agent import AgentID
from minari.data_collector.columns import private
from minari.data_collector.multi_agent.base import AgentsCollector
from minari.data_collector.multi_agent.trajectories import UNSEEN, Outcome, Trajectory, came_back


class TurnsCollector(AgentsCollector):
    """Collector of an environment whose agents act in turns.

    The outcome of an action is known at the next turn of its agent, so its row is completed there.
    """

    #: The observation that the environment has given at this turn.
    _seen: Any = UNSEEN
    #: The other values of ``last()`` at this turn, if it was called.
    _told: tuple[Any, ...] | None = None
    #: True if the environment has failed to take the action of this turn.
    _is_again = False
    #: Number of agents after the last step.
    _count = 0
    #: Agents whose end is in an episode that was saved before their last turn.
    _ended_before: frozenset[AgentID] = frozenset()
    #: Rewards that agents had earned since their last action when the episode was saved.
    _counted: dict[AgentID, Any]

    def observe(self, agent: AgentID) -> Any:
        """Return the observation of an agent; at its turn, it is the one that is recorded."""
        observation = self.env.observe(agent)
        if self._was_reset and agent == getattr(self.env, "agent_selection", None):
            self._seen = private(observation)
        return observation

    def last(self, observe: bool = True) -> Any:
        """Return observation, reward since its last action, flags and info of the agent whose turn it is.

        The observation is the one that is recorded.
        """
        result = self.env.last(observe)
        if self._was_reset:
            observation, reward, terminated, truncated, info = result
            if observe:
                self._seen = private(observation)
            self._told = private(reward), terminated, truncated, private(info) if self._needs_infos else {}
        return result

    def agent_iter(self, max_iter: int = 2**63) -> Any:
        """Return an iterator over the agents, each at its turn."""
        return self.env.agent_iter(max_iter)

    def _take_reset(self, result: Any) -> None:
        self._seen, self._told, self._is_again = UNSEEN, None, False
        self._ended_before, self._counted = frozenset(), {}

    def step(self, action: Any) -> Any:
        """Take the action of the agent whose turn it is, and record what came of its last one.

        After the end of an episode, or a save, a step without a reset begins a new one.

        Args:
            action: the action; None of an agent that is dead.

        Returns:
            The result of the environment, which is None.
        """
        running, env = self._running, self.env
        if not running.started:
            self._check_was_reset()
            self._end_episode()  # if an interruption occurred in between
            if not self._agents():
                return env.step(action)  # (nobody is left)
            self._start(None, None)
        agent, turn = env.agent_selection, running.turn
        was_there = agent in running.taking_part
        trajectory = self._begin_turn(agent)
        acts = trajectory is not None and not trajectory.is_over
        try:
            if acts:
                trajectory.act(action)  # type: ignore[union-attr] # it acts
            result = env.step(action)
            running.turn = turn + 1
            if self._record_state:
                self._add_state()
        except BaseException:
            running.turn = turn
            running.cut_state(turn + 1)
            if acts:
                trajectory.undo_act()  # type: ignore[union-attr]
            if not was_there:
                running.taking_part.pop(agent, None)
            self._is_again = was_there
            raise
        self._is_again = False
        values = self._seen, action
        self._seen, self._told = UNSEEN, None
        alive = self._agents()
        if running.have_ended(alive):
            self._end_episode()
        else:
            if len(alive) != self._count:
                self._count = len(alive)
                self._complete_gone(set(alive))
            for warning in running.take_warnings() if running.has_warnings else ():
                warn(warning)
            if running.turn >= self._capacity:
                self._free_memory(running.turn, values)
        return result

    def _begin_turn(self, agent: AgentID) -> Trajectory | None:
        """Record what the agent is given at its turn; return its trajectory, None if it is left out."""
        running = self._running
        trajectory = running.taking_part.get(agent)
        if trajectory is not None:
            if trajectory.is_open:
                trajectory.complete(self.env, self._outcome_of_turn(), running.turn)
            elif self._is_again and len(trajectory) and trajectory.timesteps[-1] == running.turn:
                trajectory.amend(self.env, self._outcome_of_turn(), running.turn, is_repeated=True)
            elif trajectory.has_left and not self._outcome_of_turn(observe=False).is_last:
                running.note(came_back(agent))
            return trajectory
        if agent in self._ended_before:
            return None
        return self._appear(agent, self._outcome_of_turn())

    def _appear(self, agent: AgentID, outcome: Outcome) -> Trajectory | None:
        trajectory = self._trajectory(agent)
        if trajectory is not None:
            trajectory.counted = self._counted.pop(agent, None)
            trajectory.start(self.env, outcome.observation, outcome.info, self._running.turn)
            trajectory.earn_early(outcome.reward)
            if outcome.is_last:
                trajectory.leave()
        return trajectory

    @property
    def _needs_infos(self) -> bool:
        return self._record_infos or self._has_callback

    def _outcome_of_turn(self, observe: bool = True) -> Outcome:
        """Return what the agent is given whose turn it is; the environment is asked where nobody did."""
        asks = observe and self._seen is UNSEEN
        if asks or self._told is None:
            try:
                observation, *told = self.env.last(asks)
            except Exception as error:  # of the environment: a step must not fail, and the episode is reported
                return Outcome(Unkept.because(None, error), 0.0, False, False, {})
            if asks:
                self._seen = private(observation)
            if self._told is None:
                self._told = tuple(told)
        return Outcome(self._seen, *self._told)

    def _outcome_of(self, agent: AgentID) -> Outcome:
        """Return what came of the last action of an agent so far, although it is not its turn.

        Raises:
            Exception: the environment does not tell.
        """
        env = self.env
        if self._agents() and agent == env.agent_selection:
            return self._outcome_of_turn()
        reward = env._cumulative_rewards[agent]
        try:
            observation = env.observe(agent)
        except Exception:  # such as one that answers only at the turn of the agent
            observation = UNSEEN
        return Outcome(
            UNSEEN if observation is None else observation,
            reward,
            env.terminations.get(agent, False),
            env.truncations.get(agent, False),
            env.infos.get(agent, {}),
        )

    def _complete(self) -> None:
        running, counted = self._running, dict[AgentID, Any]()
        for agent, trajectory in running.taking_part.items():
            if trajectory.is_open:
                outcome = self._complete_one(trajectory)
                if outcome is not None:
                    counted[agent] = private(outcome.reward)
        alive = self._agents()
        for agent in alive:  # those whose turn has not come
            if agent not in running.taking_part and agent not in self._ended_before:
                with suppress(Exception):  # the environment does not tell
                    outcome = self._outcome_of(agent)
                    if outcome.observation is not UNSEEN:
                        self._appear(agent, outcome)
                        counted[agent] = private(outcome.reward)
        ended = {agent for agent, each in running.taking_part.items() if each.is_over and self._is_dead(agent)}
        self._counted, self._ended_before = counted, (self._ended_before | ended) & set(alive)

    def _is_dead(self, agent: AgentID) -> bool:
        """Return whether the environment will give an agent only its last turn."""
        with suppress(Exception):
            return bool(self.env.terminations[agent] or self.env.truncations[agent])
        return False

    def _complete_gone(self, alive: set[AgentID]) -> None:
        """Complete the rows of agents that have gone without a last turn, while the environment may know of them."""
        for agent, trajectory in self._running.taking_part.items():
            if trajectory.is_open and agent not in alive:
                self._complete_one(trajectory)
                trajectory.leave()

    def _complete_one(self, trajectory: Trajectory) -> Outcome | None:
        try:
            outcome = self._outcome_of(trajectory.agent)
        except Exception:
            trajectory.undo_act()
            self._running.note(
                f"The last action of the agent {shortened(trajectory.agent)} is left out, since the environment does "
                f"not tell what came of it; step the agent until its last turn."
            )
            return None
        trajectory.complete(self.env, outcome, self._running.turn)
        return outcome
