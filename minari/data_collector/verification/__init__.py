"""Verification: replays the actions of a dataset in its environment, and compares what comes of them."""

from minari.data_collector.verification.report import Divergence, EpisodeVerification, VerificationReport
from minari.data_collector.verification.verify import verify


__all__ = ["Divergence", "EpisodeVerification", "VerificationReport", "verify"]
