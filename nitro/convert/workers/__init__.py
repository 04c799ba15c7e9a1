"""What runs in a backend's own environment: `run.py` with a worker's name.

Only `own` imports anything of ours, which it finds where it is told to.

A worker is a module with `run(request: dict) -> dict`. Logits and token ids go into an .npz file, the rest is JSON.
"""
