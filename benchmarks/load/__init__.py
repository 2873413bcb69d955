"""Load on services, and what it shows: the parts of `benchmarks.serving`."""
