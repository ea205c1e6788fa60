"""The public path of recordings that are not datasets yet: list them, find one, make a dataset of it."""

from minari._catalog.recordings import Recording, find_recording, list_recordings
from minari.storage.local import recover_recording


__all__ = ["Recording", "find_recording", "list_recordings", "recover_recording"]
