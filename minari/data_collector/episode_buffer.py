"""The usual import path of :class:`EpisodeBuffer`."""

from minari.dataset.episode_buffer import EpisodeBuffer


__all__ = ["EpisodeBuffer"]
