"""The engines: a registry of them, and a folder each."""
