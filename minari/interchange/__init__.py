"""Import and export of datasets in the formats of other programs.

>>> from minari.interchange import formats
>>> "d4rl" in formats()
True
"""

from minari.interchange.conversion import export_dataset, import_dataset, read
from minari.interchange.format import Format, Report, Source
from minari.interchange.registry import formats, get_format


__all__ = ["Format", "Report", "Source", "export_dataset", "formats", "get_format", "import_dataset", "read"]
