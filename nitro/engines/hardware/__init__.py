"""What this machine has: memory, cores, GPUs, and how libraries are built."""
