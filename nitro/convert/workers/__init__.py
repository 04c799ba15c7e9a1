"""Workers, which run in a backend's own environment: `run.py` with a worker's name.

Only `native` imports anything of Nitro, from the folder that its request names.

A worker is a module with `run(request: dict) -> dict`. Logits and token ids go into an .npz file, the rest is JSON.
"""
