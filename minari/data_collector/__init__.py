"""Recording of environments."""

from minari.data_collector.data_collector import DataCollector
from minari.data_collector.episode_buffer import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.data_collector.multi_agent import MultiAgentDataCollector
from minari.data_collector.vector import VectorDataCollector


__all__ = [
    "DataCollector",
    "EpisodeBuffer",
    "MultiAgentDataCollector",
    "MultiAgentEpisodeBuffer",
    "VectorDataCollector",
]
