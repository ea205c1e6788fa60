"""The parts of the remote of the Hugging Face Hub: requests, commits, and the files that they keep in a repository."""
