"""Public import path of :class:`ZarrStorage`."""

from minari._storages.zarr.storage import ZarrStorage


__all__ = ["ZarrStorage"]
