"""What the remote of the Hugging Face Hub is made of: requests, commits, and what they leave in a repository."""
