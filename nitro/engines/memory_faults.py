"""How libraries say that there is no memory for what they are to compute. Whoever computes with them raises OutOfMemory
then (`runner.py`)."""

# What stands in the messages of exceptions, and where it comes from.
PHRASES = (
    "[malloc]",  # MLX (mlx/allocator.cpp)
    "[metal::malloc]",  # MLX (mlx/backend/metal/allocator.cpp): also "Resource limit (…) exceeded"
    "cudaMalloc",  # MLX (mlx/backend/cuda/allocator.cpp): cudaMallocManaged, cudaMallocAsync
    "out of memory",  # CUDA: cudaGetErrorString(cudaErrorMemoryAllocation)
    "std::bad_alloc",  # of C++, where a binding does not make a MemoryError of it
)


def is_shortage(error: BaseException) -> bool:
    """Whether the exception says that there was no memory."""
    return isinstance(error, MemoryError) or any(phrase in str(error) for phrase in PHRASES)
