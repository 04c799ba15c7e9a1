"""Tiny random encoders and cross-encoders in transformers' layout, one of each kind.

data/encoders.json has, for each kind, its config.json and the shapes of its weights as transformers writes them, and
what transformers computes with them: `python tests/convert/record_encoders.py` makes it. The values of the weights
follow from their names.
"""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

RECORD = Path(__file__).parent / "data" / "encoders.json"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "moon",
    "runs",
    "sea",
    "what",
    "is",
    "of",
    "light",
    "house",
    "?",
    ".",
)
PIECES = ("##s", "##ing", "##ed", "##er")
VOCABULARY = 64
POSITIONS = 96  # tokens
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 48, "max_position_embeddings": POSITIONS, "pad_token_id": 0}
DISTIL = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "pad_token_id": 0}
MODERN = {**SIZES, "local_attention": 16, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}

# by kind: transformers' class of the model, and what its configuration is made of
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertModel", SIZES),
    "bert, cross": ("BertForSequenceClassification", {**SIZES, "num_labels": 1}),
    "bert, two labels": ("BertForSequenceClassification", {**SIZES, "num_labels": 2}),
    "roberta": ("RobertaModel", {**SIZES, "pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta, cross": (
        "XLMRobertaForSequenceClassification",
        {**SIZES, "pad_token_id": 1, "type_vocab_size": 1, "num_labels": 1, "hidden_act": "gelu"},
    ),
    "distilbert": ("DistilBertModel", {**DISTIL, "max_position_embeddings": POSITIONS}),
    "distilbert, cross": (
        "DistilBertForSequenceClassification",
        {**DISTIL, "max_position_embeddings": POSITIONS, "num_labels": 1},
    ),
    "mpnet": ("MPNetModel", {**SIZES, "pad_token_id": 1}),
    "mpnet, cross": ("MPNetForSequenceClassification", {**SIZES, "pad_token_id": 1, "num_labels": 1}),
    "nomic_bert": ("NomicBertModel", {**SIZES, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    "modernbert": ("ModernBertModel", {**MODERN, "norm_eps": 1e-5}),
    "modernbert, cross": (
        "ModernBertForSequenceClassification",
        {**MODERN, "num_labels": 1, "classifier_pooling": "mean"},
    ),
}
# what is computed: pairs of token ids, the second of which may be empty
PAIRS: tuple[tuple[list[int], list[int]], ...] = tuple(
    (
        [2, *((7 * i * k + 5) % 59 + 5 for i in range(first)), 3],
        [*((11 * i + k) % 59 + 5 for i in range(second)), 3][: second + 1 if second else 0],
    )
    for k, (first, second) in enumerate([(3, 0), (9, 12), (40, 30), (1, 1), (20, 0)], 1)
)


def record() -> dict[str, Any]:
    """By kind: "config", "shapes", and what transformers computes for PAIRS: "mean" (vectors), "logits"."""
    found: dict[str, Any] = json.loads(RECORD.read_text())
    return found


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Values that follow from the names, of a size at which the layers do something."""
    return {name: _values(name, shape) for name, shape in shapes.items()}


def _values(name: str, shape: list[int]) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    values = random.standard_normal(shape).astype(np.float32)
    if name.endswith("weight") and len(shape) == 1:  # of a norm
        return 1 + values / 4
    return values / (4 if len(shape) == 1 else shape[-1] ** 0.5 / 1.5)


def write(folder: Path, kind: str, config: dict[str, Any] | None = None) -> Path:
    """A folder with config.json, weights and tokenizer. `config`: settings over the recorded ones."""
    known = record()[kind]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**known["config"], **(config or {})}))
    save_file(weights(known["shapes"]), folder / "model.safetensors")
    write_tokenizer(folder)
    return folder


def write_sentence_files(folder: Path, pooling: str = "mean", **about: Any) -> Path:
    """What sentence-transformers keeps beside a model. `about`: what its configuration says."""
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(listed))
    if about:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(about))
    return folder


def tokens() -> list[str]:
    """BERT's kind of vocabulary, VOCABULARY tokens long."""
    known = [*SPECIAL, *WORDS, *PIECES]
    letters = [chr(ord("a") + i) for i in range(26)]
    known += [letter for letter in letters if letter not in known]
    return known + [f"[unused{i}]" for i in range(VOCABULARY - len(known))]


def write_tokenizer(folder: Path) -> None:
    """tokenizer.json, with truncation and padding as sentence-transformers leaves them in it."""
    words = Tokenizer(models.WordPiece({token: id for id, token in enumerate(tokens())}, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    words.add_special_tokens(list(SPECIAL))
    words.enable_truncation(16)
    words.enable_padding(length=16)
    words.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"cls_token": "[CLS]", "sep_token": "[SEP]"}))


# of llama.cpp's converter: transformers' names → GGUF's
_GGUF_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
    "classifier.dense": "cls",
    "classifier.out_proj": "cls.output",
    "classifier": "cls.output",
}


def write_gguf(path: Path, kind: str, pooling: gguf.PoolingType | None = None, labels: int = 1) -> Path:
    """What llama.cpp's converter makes of a BERT or a RoBERTa, which it calls by one name. Of a BERT's head it leaves
    out the pooler."""
    known = record()[kind]
    config = known["config"]
    writer = gguf.GGUFWriter(path, "bert")
    first = config["pad_token_id"] + 1 if "roberta" in config["model_type"] else 0
    writer.add_context_length(config["max_position_embeddings"] - first)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_token_type_count(config["type_vocab_size"])
    if pooling is not None:
        writer.add_pooling_type(pooling)
    writer.add_classifier_output_labels([f"LABEL_{i}" for i in range(labels)])
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    special = [token in SPECIAL for token in tokens()]
    texts = [token if token in SPECIAL else token[2:] if token[:2] == "##" else f"▁{token}" for token in tokens()]
    writer.add_token_list(texts)
    writer.add_token_types([gguf.TokenType.CONTROL if each else gguf.TokenType.NORMAL for each in special])
    for name, id in (("unk", 1), ("sep", 3), ("pad", 0), ("mask", 4), ("bos", 2)):
        getattr(writer, f"add_{name}_token_id")(id)
    for name, array in weights(known["shapes"]).items():
        if "pooler" not in name:
            writer.add_tensor(_gguf_name(name), array[first:] if "position_embeddings" in name else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    module, _, end = name.removeprefix("bert.").removeprefix("roberta.").rpartition(".")
    layer = re.match(r"encoder\.layer\.(\d+)\.(.*)", module)
    return f"blk.{layer[1]}.{_GGUF_NAMES[layer[2]]}.{end}" if layer else f"{_GGUF_NAMES[module]}.{end}"
