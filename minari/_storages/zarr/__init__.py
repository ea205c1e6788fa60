"""The Zarr format: one array a leaf, in chunks and shards."""
