"""Workers that hold layers of a model, by llama.cpp's RPC: who they are, and whether they are there."""
