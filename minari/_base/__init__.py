"""What knows nothing of datasets: files, JSON, and their limits."""
