"""A version made again from commit, lock, data and parameters; neither registry nor the caller's files change."""
