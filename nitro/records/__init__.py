"""Requests that are kept as they came, with their replies: written, listed, sent again, made harmless. Knows no HTTP."""
