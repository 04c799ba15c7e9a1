"""llama.cpp's RPC: layers of a model on workers, which may be other machines. The client's side, and a worker's."""
