"""Hooks of the data collector."""

from minari.data_collector.callbacks.episode_metadata import EpisodeMetadataCallback
from minari.data_collector.callbacks.step_callback import StepDataCallback


__all__ = ["EpisodeMetadataCallback", "StepDataCallback"]
