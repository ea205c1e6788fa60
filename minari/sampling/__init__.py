"""From a dataset to a batch: transitions, windows, and the batches that are drawn from them."""

from minari.sampling.batches import Batches
from minari.sampling.joint import JointTransitions
from minari.sampling.mixing import MixedBatches, Mixture, mix
from minari.sampling.nested import Batch, EpisodeArrays
from minari.sampling.samples import Samples
from minari.sampling.statistics import FieldStatistics, Normalizer
from minari.sampling.transitions import Transitions
from minari.sampling.windows import Windows


__all__ = [
    "Batch",
    "Batches",
    "EpisodeArrays",
    "FieldStatistics",
    "JointTransitions",
    "MixedBatches",
    "Mixture",
    "Normalizer",
    "Samples",
    "Transitions",
    "Windows",
    "mix",
]
