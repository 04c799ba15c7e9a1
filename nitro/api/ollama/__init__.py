"""Ollama's API, below /api, for its clients: as Ollama 0.32 has it, where this server can do the same.

Requests become those of chat and text completions, in our names (`parse`), so that a parameter means the same in both
APIs. What differs from Ollama, and why: docs/ollama.md.
"""
