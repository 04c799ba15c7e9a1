"""Fetches models from the hub into the Hugging Face cache. Only here is huggingface_hub imported."""
