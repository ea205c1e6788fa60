"""How episodes lie on disk: the base of all storage formats, and one directory a format."""
