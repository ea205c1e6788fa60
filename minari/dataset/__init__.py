"""What a dataset is: its id, its metadata, its storage and its episodes."""
