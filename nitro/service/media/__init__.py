"""Images and sounds of requests: what a client sends → files that an engine may decode."""
