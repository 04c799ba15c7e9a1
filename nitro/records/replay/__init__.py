"""Sends recorded requests again, to any server, and compares what it answers."""
