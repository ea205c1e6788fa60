"""Recording of vector environments."""

from minari.data_collector.vector.collector import VectorDataCollector


__all__ = ["VectorDataCollector"]
