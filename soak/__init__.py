"""What a hostile but honest tester does to a server, as figures with bounds. Run: `python -m soak`; see `__main__`."""
