"""Public import path of :class:`StepData`."""

from minari._model.episode import StepData


__all__ = ["StepData"]
