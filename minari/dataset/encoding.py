"""Public import path of :class:`EpisodeCodec`, for authors of formats."""

from minari._model.episode_codec import EpisodeCodec


__all__ = ["EpisodeCodec"]
