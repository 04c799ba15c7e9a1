"""OpenAI's Responses: read, answered, and kept."""
