"""The OpenAI API: its objects, readers, renderers and routes."""
