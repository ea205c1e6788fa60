"""Facts of datasets and episodes for people: on a terminal, on a page, in plots."""

from minari.inspection.distributions import Distribution, Histogram, histogram, shared_histograms
from minari.inspection.episode import EpisodeLeaf, EpisodeReader
from minari.inspection.leaf_summaries import LeafSummary, SampledLeaves, summarize_leaves
from minari.inspection.memory import EpisodeInMemory
from minari.inspection.overview import ComponentOverview, LeafOverview, overview_of
from minari.inspection.series import condensed, reduced


__all__ = [
    "ComponentOverview",
    "Distribution",
    "EpisodeInMemory",
    "EpisodeLeaf",
    "EpisodeReader",
    "Histogram",
    "LeafOverview",
    "LeafSummary",
    "SampledLeaves",
    "condensed",
    "histogram",
    "overview_of",
    "reduced",
    "shared_histograms",
    "summarize_leaves",
]
