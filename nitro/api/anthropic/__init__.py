"""Anthropic's API: messages, in their shapes, with their events, errors and headers."""
