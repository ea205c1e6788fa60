"""Public import path of codecs, for authors of formats."""

from minari._model.compression import Codec, Codecs


__all__ = ["Codec", "Codecs"]
