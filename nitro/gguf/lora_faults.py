"""Where llama.cpp (llama-cpp-python 0.3.36) loads a LoRA and does not compute it as it should, by general.architecture:
tensors that its graph multiplies without `build_lora_mm` (src/models/*.cpp), so that the LoRA does nothing, and such
whose product it scales before the LoRA is added. Found by tests/test_lora_graphs.py; findings/llamacpp_lora_ignored.sh.
"""

from nitro.gguf import architectures
from nitro.gguf.header import Header

LATENT = ("attn_q", "attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_k_b", "attn_v_b")
NOT_COMPUTED = {
    "deepseek2": ("output.weight", *(f"blk.N.{part}.weight" for part in LATENT)),
    "gemma4": ("per_layer_model_proj.weight", "per_layer_token_embd.weight", "blk.N.ffn_down_exps.weight"),
}
ASSERTED = (
    "ffn_up",
    "ffn_gate",
    "ffn_down",
)  # in NVFP4, a LoRA on them ends the process (build_ffn in llama-graph.cpp)


def problem(header: Header, tensor: str) -> str | None:
    """Why a LoRA on this tensor cannot be used: a clause. None where it can."""
    if architectures.general(tensor) in NOT_COMPUTED.get(header.architecture, ()):
        return f"llama.cpp computes {tensor} of {header.architecture} without the LoRA or wrong"
    found = header.tensors.get(tensor)
    if found is not None and found.type == "NVFP4" and tensor.split(".")[-2] in ASSERTED:
        return f"llama.cpp takes no LoRA on {tensor} in NVFP4"
    return None
