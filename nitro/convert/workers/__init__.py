"""What runs in a backend's own environment: `run.py` with a worker's name. None of them imports anything of ours.

A worker is a module with `run(request: dict) -> dict`. Logits and token ids go into an .npz file, the rest is JSON.
"""
