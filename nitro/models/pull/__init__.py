"""Fetches models from the hub into the Hugging Face cache. Only here is huggingface_hub imported."""

import os

# Left alone, huggingface_hub asks the hub for a list of programs, and tells it which of them has started this one.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
