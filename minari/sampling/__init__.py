"""From a dataset to a batch: transitions, windows, and the batches that are drawn from them."""

from minari.sampling.samples import Samples
from minari.sampling.transitions import Transitions
from minari.sampling.windows import Windows


__all__ = ["Samples", "Transitions", "Windows"]
