"""Scores of documents for a query: the routes of Jina, Cohere, text-embeddings-inference, and vLLM's scores."""
