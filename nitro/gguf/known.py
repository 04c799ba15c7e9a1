"""The architectures of GGUFs that MLX opens: the keys of `architectures.FAMILIES`, which a test compares, for those who
may not import what that needs."""

ARCHITECTURES = frozenset(
    {
        *("llama", "mistral3", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "qwen35", "qwen35moe", "gemma2", "gemma3"),
        *("phi3", "smollm3", "granite", "granitemoe", "granitehybrid", "olmo2", "olmoe", "seed_oss", "ernie4_5"),
        *("hunyuan-dense", "glm4", "glm4moe", "gpt-oss", "minimax-m2", "lfm2", "lfm2moe", "deepseek2", "nemotron_h"),
        *("nemotron_h_moe", "cohere2", "command-r", "exaone4", "falcon-h1", "gemma", "gemma4", "mamba2", "nemotron"),
        *("qwen3next", "stablelm", "starcoder2"),
    }
)
