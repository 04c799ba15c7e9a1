"""Requests as they came, with their replies: written, listed, sent again, made harmless. Serves no HTTP."""
