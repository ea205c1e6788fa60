"""Storage formats: their base classes, and one directory for each format."""
