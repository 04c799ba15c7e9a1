"""What no thread may do, as no thread can be stopped: to compile constraints and to tokenise long texts, in processes
that the kernel ends when they take too much time or memory. The engine goes on without them."""
