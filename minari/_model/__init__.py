"""What a dataset is made of, as values without any input or output."""
