"""Families of models, one table per file. They are looked up in gguf/architectures.py."""
