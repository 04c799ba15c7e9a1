"""What the operating system gives a process: children, descriptors, signals, standard error, memory."""
