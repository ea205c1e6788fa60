"""Public import path of :class:`EpisodeData`."""

from minari._model.episode import EpisodeData


__all__ = ["EpisodeData"]
