"""Public import path of :class:`EpisodeBuffer`."""

from minari._model.episode_buffer import EpisodeBuffer, MultiAgentEpisodeBuffer


__all__ = ["EpisodeBuffer", "MultiAgentEpisodeBuffer"]
