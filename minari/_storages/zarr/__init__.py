"""The Zarr format: one array per leaf, in chunks and shards."""
