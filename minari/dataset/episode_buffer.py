"""Public import path of :class:`EpisodeBuffer`."""

from minari._model.episode_buffer import EpisodeBuffer


__all__ = ["EpisodeBuffer"]
