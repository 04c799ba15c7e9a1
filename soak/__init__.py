"""Hostile but honest tests of a running server, as figures with bounds. Run: `python -m soak`; see `__main__`."""
