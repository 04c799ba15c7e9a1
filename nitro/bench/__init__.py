"""Measuring a server that speaks the OpenAI API, from outside. Knows nothing of this one's other parts."""
