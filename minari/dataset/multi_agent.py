"""Public import path of the values of datasets of many agents."""

from minari._model.multi_agent import (
    AgentEpisodeData,
    AgentSpaces,
    JointEpisode,
    MultiAgentEpisodeBuffer,
    MultiAgentEpisodeData,
)


__all__ = ["AgentEpisodeData", "AgentSpaces", "JointEpisode", "MultiAgentEpisodeBuffer", "MultiAgentEpisodeData"]
