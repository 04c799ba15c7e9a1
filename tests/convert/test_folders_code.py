"""Code that a model's folder brings is never run: in no direction, for no architecture, and not to compare or to serve.

Each folder here holds a Python file that would write a marker when it is imported, and says that it is needed.
"""

import ast
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from real_models import write_hf

from nitro.cli.main import main
from nitro.convert import environments, llama_cpp_converter

pytestmark = pytest.mark.convert

WORKERS = Path(environments.__file__).with_name("workers")
NEVER = "needs its own Python code (auto_map), which is never run"
# whatever the converters ask for before they come to the tokenizer
SETTINGS = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "vocab_size", "padded_vocab_size"), 64),
    **dict.fromkeys(("intermediate_size", "max_position_embeddings", "n_positions"), 128),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "num_key_value_heads", "n_groups"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_routed_experts", "num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "expand", "topk_group"), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "first_k_dense_replace", "n_group"), 1),
    **dict.fromkeys(("head_dim", "kv_lora_rank", "q_lora_rank", "v_head_dim"), 16),
    **dict.fromkeys(
        ("qk_rope_head_dim", "qk_nope_head_dim", "rotary_dim", "ssm_state_size", "mamba_head_dim", "d_head"), 8
    ),
    **dict.fromkeys(("mamba_num_heads", "conv_kernel", "chunk_size"), 4),
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "layernorm_epsilon", "layer_norm_epsilon", "norm_eps"), 1e-5),
    **dict.fromkeys(("moe_intermediate_size", "moe_shared_expert_intermediate_size"), 16),
    **{"partial_rotary_factor": 0.5, "routed_scaling_factor": 1.0, "rope_theta": 10000.0, "norm_topk_prob": True},
    **{"scoring_func": "softmax", "hidden_act": "silu", "hybrid_override_pattern": "M*", "sliding_window": 32},
    "layer_types": ["full_attention"] * 2,
    "linear_attn_config": {
        **{"kda_layers": [1], "full_attn_layers": [2], "num_heads": 4, "head_dim": 16, "short_conv_kernel_size": 4}
    },
}
OWN = {
    "config.json": {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoModelForCausalLM": "own.Own"},
    "tokenizer_config.json": {"AutoTokenizer": ["own.Own", "own.Own"]},
}


def add_code(folder: Path, marker: Path) -> None:
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Own: pass\n")
    (folder / "custom_generate").mkdir()
    shutil.copy(folder / "own.py", folder / "custom_generate" / "generate.py")
    for name, map in OWN.items():
        file = folder / name
        about = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**about, "auto_map": map}))


def trusting(converter: Path) -> Iterator[str]:
    """The modules of the converter that trust a model's folder."""
    for file in sorted((converter / "conversion").glob("*.py")):
        keywords = (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.keyword))
        if any(word.arg == "trust_remote_code" and ast.literal_eval(word.value) for word in keywords):
            yield file.stem


def modules(converter: Path) -> dict[str, str]:
    """The converter's modules, by the architecture."""
    tree = ast.parse((converter / "conversion" / "__init__.py").read_text(encoding="utf-8"))
    maps = (node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and node.value)
    return next(ast.literal_eval(node.value) for node in maps if ast.unparse(node.target) == "TEXT_MODEL_MAP")


def test_no_architecture_of_llama_cpp_s_converter_runs_it(tmp_path: Path) -> None:
    """Of all of them, in one process. At least one in each module that trusts a folder comes to the point."""
    converter = llama_cpp_converter.folder(print)
    by_architecture = modules(converter)
    for name in by_architecture:
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"architectures": [name], "model_type": "own", **SETTINGS}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OwnTokenizer"}))
        add_code(folder, tmp_path / f"{name}.marker")
    script, python = Path(__file__).with_name("try_folders.py"), environments.python("converter", print)
    command = [str(python), "-P", str(script), str(WORKERS), str(converter), str(tmp_path / "models")]
    subprocess.run(command, check=True, capture_output=True, env=environments._environment())
    said = json.loads((tmp_path / "models" / "said.json").read_text())
    assert said.keys() == by_architecture.keys() and not list(tmp_path.glob("*.marker"))
    refused = {by_architecture[name] for name, words in said.items() if f"{name} {NEVER}" in words}
    assert {*trusting(converter)} - {"base"} <= refused


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, smollm: Path) -> Path:
    return write_hf(smollm, tmp_path_factory.mktemp("original") / "smollm2")


def nitro(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize("to", ["gguf", "mlx"])
def test_what_works_without_it_works(original: Path, tmp_path: Path, to: str) -> None:
    """transformers knows the model's type. Both directions are proven, so that every backend reads the folder."""
    folder, target = tmp_path / "model", tmp_path / ("made.gguf" if to == "gguf" else "made")
    shutil.copytree(original, folder)
    add_code(folder, tmp_path / "marker")
    code, said = nitro("convert", folder, "--to", to, "-o", target, "--positions", 64)
    assert code == 0, said
    assert not (tmp_path / "marker").exists() and not list(tmp_path.rglob("made/*.py"))


@pytest.mark.parametrize("to", ["gguf", "mlx"])
def test_what_needs_it_is_refused(original: Path, tmp_path: Path, to: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(original, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OwnTokenizer"}))
    add_code(folder, tmp_path / "marker")
    code, said = nitro("convert", folder, "--to", to, "-o", tmp_path / "made")
    assert not (tmp_path / "marker").exists()
    print(code, said)
    assert code == 1 and NEVER in said and "Traceback" not in said
