"""The table of limits: how far MLX's next-token distributions may be from llama.cpp's before it is another model; with
pictures and sounds, how far both may be from those of transformers.

Each is a mean Kullback–Leibler divergence in nats, llama.cpp without flash attention and its KV cache in float32. Each
stands beside a fault, most of tests/doctored.py: what has it is further away, which the test of the limit shows.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """A row. `of`: what is compared. `nats`: the largest mean divergence. `why`: where it comes from. `fault`: the
    doctored file, or the prompt, that fails it. `test`: which shows both."""

    of: str
    nats: float
    why: str
    fault: str
    test: str


FAMILY = Limit(
    "a tiny model of each architecture, in float32",
    1e-6,
    "rounding in float32; seen are up to 3e-9",
    "two rows",
    "test_families.py",
)
GELU_FAMILY = Limit(
    "the same, of architectures with GELU",
    5e-6,
    "llama.cpp's GELU is a table of float16 (ggml_vec_gelu_f32 in ggml/src/ggml-cpu/vec.h); seen are up to 2e-6",
    "two rows",
    "test_families.py",
)
PLAIN = Limit("a tiny llama in float32", 1e-8, "rounding in float32; seen is 4e-12", "two rows", "test_same_file.py")
HALF = Limit(
    "a tiny llama in F16",
    1e-4,
    "llama.cpp rounds to 16 bits what it multiplies with such weights; seen is 2e-6",
    "two rows",
    "test_same_file.py",
)
PACKED = Limit(
    "a tiny llama in Q4_0, Q4_1 or Q8_0, and the embedded model",
    0.01,
    "llama.cpp rounds to 8 bits what it multiplies with such weights; seen is 1e-3",
    "swapped tensor",
    "test_same_file.py",
)
BLOCKS = Limit(
    "a tiny llama in each of ggml's types, from the same numbers in float32",
    1e-8,
    "rounding in float32; seen are 5e-11 to 1e-10",
    "permuted heads",
    "test_blocks.py",
)
SMOLLM = Limit(
    "the embedded model in 24 types, from the same numbers in float32",
    1e-8,
    "rounding in float32; seen is 7e-11",
    "swapped tensor",
    "test_real_blocks.py",
)
GEMMA = Limit(
    "gemma3-270m, Q4_K_M, from the same numbers in float32",
    1e-4,
    "llama.cpp's GELU is a table of float16; seen is 2e-5",
    "two rows",
    "test_real_blocks.py",
)
SERVED = Limit(
    "gemma3-270m, Q4_K_M, and the embedded model in 24 types, on the same file",
    0.02,
    "llama.cpp rounds to 8 bits what it multiplies with such weights; seen is 0.01",
    "swapped tensor",
    "test_real_blocks.py",
)
LIBRARY = Limit(
    "a tiny llama by mlx-kquant's own layers",
    6e-3,
    "their products are bfloat16 also where they are given float32; seen is 5e-3",
    "permuted heads",
    "test_blocks.py",
)
GELU = ("gemma", "gemma2", "gemma3", "gemma4", "starcoder2")  # by general.architecture


def of_family(architecture: str) -> Limit:
    """The limit of a tiny model. `architecture`: general.architecture."""
    return GELU_FAMILY if architecture in GELU else FAMILY


# Of models that see or hear. The fault is the same prompt with its pictures or sounds in another order.
SEEING = Limit(
    "a tiny Qwen2-VL, Gemma 3 and SmolVLM in float32 on llama.cpp, beside transformers and MLX",
    1e-5,
    "llama.cpp's patches (ggml_conv_2d) and table of GELU are float16; seen are 5e-7, 3e-8 and 3e-7",
    "other pictures",
    "convert/test_media_families.py",
)
SEEING_ON_MLX = Limit(
    "the same on MLX, beside transformers",
    1e-10,
    "rounding in float32; seen are 9e-13, 6e-14 and 1e-12",
    "other pictures",
    "convert/test_media_families.py",
)
HEARING = Limit(
    "a tiny Qwen2-Audio in float32 on llama.cpp, beside transformers and MLX",
    1e-6,
    "llama.cpp's convolutions (ggml_conv_1d) are float16; seen is 3e-8",
    "other sounds",
    "convert/test_media_families.py",
)
HEARING_ON_MLX = Limit(
    "the same on MLX, beside transformers",
    1e-10,
    "rounding in float32; seen is 1e-12",
    "other sounds",
    "convert/test_media_families.py",
)
