"""GGUF files: header, weights, tokenizer, and what they become in a folder. Nothing here knows an engine."""
