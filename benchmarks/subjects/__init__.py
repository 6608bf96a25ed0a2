"""One file per subject; `benchmarks.registry` knows which row lives where."""
