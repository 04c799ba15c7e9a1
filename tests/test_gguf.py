"""GGUF files for MLX: the header as it is read, the configuration it gives, and which files are refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from real_models import half_split
from tiny_models import (
    CONTEXT,
    FEED_FORWARD,
    HEADS,
    KV_HEADS,
    LAYERS,
    RECOMMENDED,
    TEMPLATE,
    VOCABULARY,
    WIDTH,
    write_gguf,
)

from nitro.engines.backends.mlx import block_layers
from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.engines.runner import CannotOpen
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.gguf import architectures, header, weights
from nitro.gguf.header import Header, Tensor, UnreadableGGUF

OPENED = (
    *(Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0, Type.TQ1_0, Type.TQ2_0),
)
HELD = ", ".join(type.name for type in OPENED)
KNOWN = ", ".join(architectures.FAMILIES)
BLOCKS = 256  # elements of a row: a multiple of every type's block


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", Type.Q4_1)


@pytest.fixture(scope="module")
def tiny(tiny_file: Path) -> Header:
    return header.read(tiny_file)


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a weight fails the test."""

    def load(*_: Any, **__: Any) -> None:
        pytest.fail("a weight is read")

    monkeypatch.setattr(weights, "stored", load)


def with_metadata(head: Header, **changes: Any) -> Header:
    """`changes`: by key, with "__" for "."; None takes the key away."""
    metadata = {**head.metadata, **{key.replace("__", "."): value for key, value in changes.items()}}
    return replace(head, metadata={key: value for key, value in metadata.items() if value is not None})


def with_tensors(head: Header, changes: dict[str, Tensor | None]) -> Header:
    """None takes the tensor away."""
    tensors = {**head.tensors, **changes}
    return replace(head, tensors={name: tensor for name, tensor in tensors.items() if tensor is not None})


def declare(path: Path, tensors: dict[str, Type], architecture: str = "llama", **keys: int) -> Path:
    """A GGUF of a few tensors, which are all zeros. `keys`: more metadata, with "__" for "."."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in keys.items():
        writer.add_uint16(key.replace("__", "."), value)
    for name, type in tensors.items():
        block, size = gguf.GGML_QUANT_SIZES[type]
        writer.add_tensor(name, np.zeros((2, BLOCKS // block * size), np.uint8), raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# The header


def test_metadata(tiny: Header, tiny_file: Path) -> None:
    assert tiny.path == tiny_file
    assert tiny.architecture == "llama"
    assert tiny.metadata["general.name"] == "tiny"
    assert tiny.get("{arch}.block_count") == tiny.need("llama.block_count") == LAYERS
    assert tiny.get("{arch}.rope.freq_base") == 10000.0
    assert tiny.get("tokenizer.chat_template") == TEMPLATE
    assert len(tiny.need("tokenizer.ggml.tokens")) == len(tiny.need("tokenizer.ggml.token_type")) == VOCABULARY
    assert tiny.get("{arch}.none") is None
    assert tiny.get("{arch}.none", 3) == 3
    assert not [key for key in tiny.metadata if key.startswith("GGUF.")]


def test_what_is_needed_and_missing(tiny: Header) -> None:
    with pytest.raises(UnreadableGGUF) as refusal:
        tiny.need("{arch}.none")
    assert str(refusal.value) == f"{tiny.path} has no llama.none in its metadata."


def test_tensors(tiny: Header) -> None:
    """Shapes are rows first, in elements: not as GGUF stores them, nor in bytes."""
    assert len(tiny.tensors) == 3 + 9 * LAYERS
    assert tiny.tensors["token_embd.weight"] == Tensor("Q4_1", (VOCABULARY, WIDTH))
    assert tiny.tensors["blk.1.attn_k.weight"] == Tensor("Q4_1", (WIDTH // HEADS * KV_HEADS, WIDTH))
    assert tiny.tensors["blk.0.ffn_down.weight"] == Tensor("Q4_1", (WIDTH, FEED_FORWARD))
    assert tiny.tensors["output_norm.weight"] == Tensor("F32", (WIDTH,))


@pytest.mark.parametrize("type", OPENED)
def test_types(type: Type, tmp_path: Path) -> None:
    head = header.read(declare(tmp_path / "some.gguf", {"a": type}))
    assert head.tensors == {"a": Tensor(type.name, (2, BLOCKS))}


def test_a_file_without_tensors_or_architecture(tmp_path: Path) -> None:
    head = header.read(declare(tmp_path / "empty.gguf", {}))
    assert head.tensors == {}
    assert replace(head, metadata={}).architecture == ""


@pytest.mark.parametrize(
    "damage",
    {
        "nothing": lambda data: b"",
        "text": lambda data: b"This is a README, and no model at all.\n" * 10,
        "three bytes": lambda data: data[:3],
        "the magic alone": lambda data: data[:4],
        "a version to come": lambda data: data[:4] + b"\x63" + data[5:],
        "cut in the counts": lambda data: data[:20],
        "cut in the metadata": lambda data: data[: len(data) // 100],
        "cut in the tokens": lambda data: data[: data.index("Ġthe".encode())],
        "cut in a tensor's name": lambda data: data[: data.index(b"attn_norm") + 4],
        "cut in the weights": lambda data: data[: len(data) * 2 // 3],
        "the last byte missing": lambda data: data[:-1],
        "a type that is none": lambda data: data.replace(
            b"output_norm.weight\x01\0\0\0" + WIDTH.to_bytes(8, "little") + bytes(4),
            b"output_norm.weight\x01\0\0\0" + WIDTH.to_bytes(8, "little") + b"\xff\0\0\0",
        ),
        "more tokens than it holds": lambda data: data.replace(
            b"tokenizer.ggml.tokens\x09\0\0\0\x08\0\0\0" + (1024).to_bytes(8, "little"),
            b"tokenizer.ggml.tokens\x09\0\0\0\x08\0\0\0" + (2**40).to_bytes(8, "little"),
        ),
        "a key twice": lambda data: data.replace(b"tokenizer.ggml.bos_token_id", b"tokenizer.ggml.eos_token_id"),
        "a key that is no UTF-8": lambda data: data.replace(b"general.name", b"general.nam\xff"),
        "a template that is no UTF-8": lambda data: data.replace(b"{% for m", b"{% for \xff"),
    }.items(),
    ids=lambda case: case[0],
)
def test_damaged_files(damage: tuple[str, Callable[[bytes], bytes]], tiny_file: Path, tmp_path: Path) -> None:
    file, whole = tmp_path / "damaged.gguf", tiny_file.read_bytes()
    assert damage[1](whole) != whole
    file.write_bytes(damage[1](whole))
    with pytest.raises(UnreadableGGUF) as refusal:
        header.read(file)
    assert str(refusal.value).startswith(f"{file} is not a GGUF file, or is damaged (")
    with pytest.raises(CannotOpen, match=r"damaged\.gguf is not a GGUF file"):
        open_gguf(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, kind in ((tmp_path / "missing.gguf", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind):
            header.read(path)
        with pytest.raises(CannotOpen) as refusal:
            open_gguf(path)
        assert str(refusal.value).startswith(f"{path} cannot be read: ")


# Weights


def test_weights_are_mapped_piece_by_piece(tiny: Header) -> None:
    tensor = tiny.tensors["token_embd.weight"]
    width = weights.row_bytes(tensor)
    pieces = list(weights.windows(tensor, 10 * width + 1))
    assert [len(piece) for piece in pieces] == [10] * 102 + [4]
    assert (np.concatenate(pieces) == weights.stored(tensor)).all()
    assert [len(piece) for piece in weights.windows(tensor, 1)] == [1] * VOCABULARY, "a row at least"


# Sampling


def test_sampling_keys_are_llama_cpps() -> None:
    parts = {"temperature": "TEMP", "repeat_last_n": "PENALTY_LAST_N", "repetition_penalty": "PENALTY_REPEAT"}
    for name, key in header.SAMPLING_KEYS.items():
        theirs = getattr(lib, f"LLAMA_MODEL_META_KEY_SAMPLING_{parts.get(name, name.upper())}")
        assert lib.llama_model_meta_key_str(theirs).decode() == key


# Architectures


def test_the_configuration_of_a_tiny_model(tiny: Header) -> None:
    assert architectures.configuration(tiny) == {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "intermediate_size": FEED_FORWARD,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": WIDTH // HEADS,
        "rms_norm_eps": pytest.approx(1e-5),
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
    }


def test_the_configuration_of_smollm(smollm: Path) -> None:
    assert architectures.configuration(header.read(smollm)) == {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "rms_norm_eps": pytest.approx(1e-5),
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
    }


@pytest.mark.parametrize(
    ("changes", "configuration"),
    [
        ({"llama__attention__head_count_kv": None}, {"num_key_value_heads": HEADS}),
        ({"llama__attention__head_count_kv": 1}, {"num_key_value_heads": 1}),
        ({"llama__rope__freq_base": None}, {"rope_theta": 10000.0}),
        ({"llama__rope__freq_base": 500000.0}, {"rope_theta": 500000.0}),
        ({"llama__rope__dimension_count": None}, {"head_dim": 16}),
        ({"llama__attention__key_length": 32, "llama__rope__dimension_count": 32}, {"head_dim": 32}),
        ({"llama__attention__key_length": 16, "llama__attention__value_length": 16}, {"head_dim": 16}),
        ({"llama__expert_count": 0}, {"rope_scaling": None}),
        ({"llama__rope__scale_linear": 1.0}, {"rope_scaling": None}),
        (
            {"llama__rope__scaling__factor": 4.0},
            {"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 4.0}},
        ),
        (
            {"llama__rope__scaling__type": "linear", "llama__rope__scaling__factor": 2.0},
            {"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2.0}},
        ),
        ({"llama__rope__scaling__type": "none", "llama__rope__scaling__factor": 2.0}, {"rope_scaling": None}),
    ],
)
def test_keys_that_are_understood(changes: dict[str, Any], configuration: dict[str, Any], tiny: Header) -> None:
    found = architectures.configuration(with_metadata(tiny, **changes))
    assert found == {**architectures.configuration(tiny), **configuration}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"general__architecture": "mamba"}, f" has the architecture 'mamba'; supported are {KNOWN}."),
        ({"general__architecture": None}, f" has the architecture ''; supported are {KNOWN}."),
        (
            {"llama__attention__head_count": [4, 2]},
            ": llama.attention.head_count differs per layer, which is not supported.",
        ),
        (
            {"llama__attention__head_count_kv": [2, 4]},
            ": llama.attention.head_count_kv differs per layer, which is not supported.",
        ),
        ({"llama__expert_count": 8}, " has no tensor blk.0.ffn_gate_inp.weight."),
        ({"llama__rope__scaling__type": "yarn"}, ": llama.rope.scaling.type is yarn; supported is none or linear."),
        ({"llama__rope__scale_linear": 0.5}, ": llama.rope.scale_linear is 0.5; supported is 1.0."),
        ({"llama__rope__dimension_count": 8}, ": llama.rope.dimension_count is 8; supported is the head size, 16."),
        (
            {"llama__attention__key_length": 32},
            ": llama.rope.dimension_count is 16; supported is the head size, 32.",
        ),
        (
            {"llama__attention__value_length": 32},
            ": llama.attention.value_length is 32; supported is the head size, 16.",
        ),
        *(
            ({f"llama__{key.replace('.', '__')}": None}, f" has no llama.{key} in its metadata.")
            for key in (
                *("block_count", "embedding_length", "feed_forward_length", "context_length"),
                *("attention.head_count", "attention.layer_norm_rms_epsilon"),
            )
        ),
    ],
)
def test_metadata_that_is_refused(changes: dict[str, Any], says: str, tiny: Header) -> None:
    with pytest.raises(UnreadableGGUF) as refusal:
        architectures.configuration(with_metadata(tiny, **changes))
    assert str(refusal.value) == f"{tiny.path}{says}"


@pytest.mark.parametrize(
    "name", ["token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight", f"blk.{LAYERS - 1}.ffn_down.weight"]
)
def test_a_tensor_that_is_missing(name: str, tiny: Header) -> None:
    with pytest.raises(UnreadableGGUF) as refusal:
        architectures.configuration(with_tensors(tiny, {name: None}))
    assert str(refusal.value) == f"{tiny.path} has no tensor {name}."


def test_without_an_output_the_embedding_is_tied(tiny: Header) -> None:
    untied = architectures.configuration(tiny)
    tied = architectures.configuration(with_tensors(tiny, {"output.weight": None}))
    assert tied == {**untied, "tie_word_embeddings": True}


def test_names_of_tensors(tiny: Header) -> None:
    names = {name: architectures.model_name(tiny, name) for name in tiny.tensors}
    assert names["token_embd.weight"] == "model.embed_tokens.weight"
    assert names["output.weight"] == "lm_head.weight"
    assert names["output_norm.weight"] == "model.norm.weight"
    assert names["blk.0.attn_q.weight"] == "model.layers.0.self_attn.q_proj.weight"
    assert names["blk.1.ffn_norm.weight"] == "model.layers.1.post_attention_layernorm.weight"
    assert architectures.model_name(tiny, "blk.27.attn_norm.weight") == "model.layers.27.input_layernorm.weight"
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize(
    "name",
    [
        *("blk.0.attn_norm.bias", "blk.0.ffn_gate_exps.weight", "blk.0.attn_q_norm.weight", "blk.0.attn_q", "blk.0"),
        *(
            "output",
            "rope_freqs.weight",
            "mm.0.weight",
            "blk.x.attn_q.weight",
            "blk.x.attn_q.bias",
            "a.blk.0.attn_q",
            "",
        ),
    ],
)
def test_a_tensor_that_is_unknown(name: str, tiny: Header) -> None:
    with pytest.raises(UnreadableGGUF) as refusal:
        architectures.model_name(tiny, name)
    expected = f"{tiny.path}: tensor {name} is not known in the architecture 'llama'."
    assert str(refusal.value) == expected


def test_rows_of_interleaved_tensors(tiny: Header) -> None:
    """A head's first half is followed by its second."""

    def order(name: str, head: Header = tiny) -> list[int]:
        return [int(row) for row in architectures.in_model_order(head, name, np.arange(16)[:, None])[:, 0]]

    halves = {heads: half_split(np.arange(16)[:, None], heads)[:, 0].tolist() for heads in (HEADS, KV_HEADS)}
    assert order("blk.0.attn_q.weight") == halves[HEADS]
    assert order("blk.11.attn_k.weight") == halves[KV_HEADS]
    assert order("blk.0.attn_v.weight") == order("token_embd.weight") == list(range(16))
    assert architectures.is_reordered(tiny, "blk.0.attn_k.weight")
    assert not architectures.is_reordered(tiny, "blk.0.attn_v.weight")
    alike = with_metadata(tiny, llama__attention__head_count_kv=None)
    assert order("blk.0.attn_k.weight", alike) == halves[HEADS]


# What MLX refuses


def refusal_of(file: Path) -> str:
    """What open_gguf says of it; always with what to do instead."""
    with pytest.raises(CannotOpen) as refusal:
        open_gguf(file)
    message = str(refusal.value)
    assert message.startswith(f"MLX cannot open it: {file}")
    assert "--engine llama" in message
    assert "nitro convert MODEL --to mlx" in message
    return message


@pytest.mark.parametrize("type", [type for type in Type if type not in OPENED], ids=lambda type: type.name)
@pytest.mark.usefixtures("no_weights")
def test_types_that_are_refused(type: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where mlx-kquant is not installed; what it would hold is refused with the cure."""
    monkeypatch.setattr(block_layers, "is_installed", lambda: False)
    tensors = {"token_embd.weight": Type.Q8_0, "blk.0.ffn_up.weight": type, "output_norm.weight": Type.F32}
    message = refusal_of(declare(tmp_path / "some.gguf", tensors))
    assert f"tensor blk.0.ffn_up.weight is {type.name}, and MLX holds {HELD}." in message
    cured = type.name in block_layers.CODECS
    assert ("The package mlx-kquant would hold it and is not installed here: on macOS 26.2" in message) is cured


@pytest.mark.parametrize(
    "type", [type for type in Type if type not in OPENED and type.name not in block_layers.CODECS], ids=lambda t: t.name
)
@pytest.mark.usefixtures("no_weights")
def test_types_that_nothing_holds(type: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_layers, "is_installed", lambda: True)
    message = refusal_of(declare(tmp_path / "some.gguf", {"blk.0.ffn_up.weight": type}))
    assert f"tensor blk.0.ffn_up.weight is {type.name}, and MLX holds {HELD}, Q2_K, Q3_K, " in message
    assert "mlx-kquant" not in message


@pytest.mark.usefixtures("no_weights")
def test_a_file_of_k_quants_is_refused(gemma: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_layers, "is_installed", lambda: False)
    assert re.search(r": tensor blk\.0\.\w+\.weight is Q4_K, and MLX holds F32, ", refusal_of(gemma))


@pytest.mark.usefixtures("no_weights")
def test_one_file_of_several_is_refused(tmp_path: Path) -> None:
    file = declare(tmp_path / "model-00001-of-00002.gguf", {"a": Type.F32}, split__count=2)
    with pytest.raises(CannotOpen, match=r"model-00002-of-00002\.gguf is missing; the model is split into 2 files\."):
        open_gguf(file)
    alone = declare(tmp_path / "model-00001-of-00001.gguf", {"a": Type.F32}, split__count=1)
    assert "2 files" not in refusal_of(alone), "refused for what it lacks"


@pytest.mark.usefixtures("no_weights")
def test_other_refusals(tmp_path: Path) -> None:
    file = declare(tmp_path / "other.gguf", {"a": Type.F32}, architecture="mamba")
    assert "has the architecture 'mamba'" in refusal_of(file)
    file = write_gguf(tmp_path / "biased.gguf", blk__0__attn_norm__bias=np.zeros(WIDTH, np.float32))
    assert "tensor blk.0.attn_norm.bias is not known" in refusal_of(file)
    file = write_gguf(tmp_path / "spelled.gguf", pre="deepseek-llm")
    assert "has the pre-tokenizer 'deepseek-llm'" in refusal_of(file)


@pytest.mark.parametrize("type", OPENED)
def test_what_is_opened(type: Type, tmp_path: Path) -> None:
    model = open_gguf(write_gguf(tmp_path / "tiny.gguf", type, width=BLOCKS))
    assert (model.trained_context, model.template) == (CONTEXT, TEMPLATE)
    assert (model.bos, model.eos) == ("<|im_start|>", "<|im_end|>")
    assert model.eog == {0, 2, 4}, "by name, and by key"
    assert b"".join(map(model.tokenizer.token_bytes, model.tokenizer.encode("a<|im_end|>b"))) == b"ab"
    assert model.sampling == SamplingDefaults(**RECOMMENDED)


def test_a_sentence_piece_vocabulary_is_served(tiny_file: Path, tiny: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁helo", "he", "ll", "▁he", "▁hell"]
    types = [2, 3, 3, *[6] * 256, *[1] * 9]
    scores = [-float(id) for id in range(len(tokens))]
    keys = {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores, "merges": None}
    changed = with_metadata(tiny, **{f"tokenizer__ggml__{key}": value for key, value in keys.items()})
    monkeypatch.setattr(header, "read", lambda *_: changed)
    model = open_gguf(tiny_file)
    ids = model.tokenizer.encode("hello\n<s>é")
    assert [model.tokenizer.token_bytes(id) for id in ids] == [b" hell", b"o", b"\n", b"", b" ", b"\xc3", b"\xa9"]
    assert (model.bos, model.eos) == ("<s>", "</s>")


@pytest.mark.parametrize("beginning", [1, 100, 2**22])
def test_a_file_that_is_read_from_its_beginning_on(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, beginning: int
) -> None:
    """The same header, however little of the file is read at first; and the same faults."""
    monkeypatch.setattr(header, "BEGINNING", beginning)
    assert header.read(model, full=False, mapped=False) == header.read(model, full=False)
    for length in (0, 3, 1000, model.stat().st_size - 1):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(model.read_bytes()[:length])
        with pytest.raises(header.UnreadableGGUF):
            header.read(cut, mapped=False)
