"""Who computes what next, and which KV is reused. Pure: no threads, clocks or sockets."""
