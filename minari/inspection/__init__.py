"""Facts of datasets and episodes for people: on a terminal, on a page, in plots."""

from minari.inspection.distributions import Distribution, Histogram, histogram
from minari.inspection.episode import EpisodeLeaf, EpisodeReader
from minari.inspection.leaf_summaries import LeafSummary, SampledLeaves, summarize_leaves
from minari.inspection.series import reduced


__all__ = [
    "Distribution",
    "EpisodeLeaf",
    "EpisodeReader",
    "Histogram",
    "LeafSummary",
    "SampledLeaves",
    "histogram",
    "reduced",
    "summarize_leaves",
]
