"""Recording of environments of many agents."""

from minari.data_collector.multi_agent.collector import MultiAgentDataCollector


__all__ = ["MultiAgentDataCollector"]
