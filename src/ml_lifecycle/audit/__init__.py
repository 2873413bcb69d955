"""The audit: each link between a version and the world, checked against the world."""
