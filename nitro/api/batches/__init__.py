"""OpenAI's Batches: files of requests that are answered when nobody else wants the engine."""
