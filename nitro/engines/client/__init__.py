"""The server's side of an engine: its process, its state, and the requests under way in it."""
