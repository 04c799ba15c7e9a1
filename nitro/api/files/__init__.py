"""OpenAI's Files: what is uploaded for batches, and what batches have written."""
