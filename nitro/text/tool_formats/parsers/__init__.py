"""Parsers of calls that several tool formats share, by the notation: JSON, names before JSON, tags, Python, Gemma's."""
