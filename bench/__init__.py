"""Measurements on real servers: `python -m bench.serve`, `python -m bench.footprint`, …, from the repository's root."""
