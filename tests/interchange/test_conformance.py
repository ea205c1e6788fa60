"""The conformance suite over the formats that can be written, with what each of them holds exactly."""

from __future__ import annotations

from minari.testing import InterchangeConformance


class TestD4RL(InterchangeConformance):
    format = "d4rl"


class TestRLDS(InterchangeConformance):
    format = "rlds"
    is_file = False
