"""One module for each library, or for several that share their layout."""
