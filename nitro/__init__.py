"""Nitro: a local LLM server that speaks OpenAI."""

__version__ = "0.1.0"
