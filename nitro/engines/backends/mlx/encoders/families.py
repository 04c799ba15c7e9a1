"""The architectures of encoders: what transformers calls their weights, and how to read their config.json.

A row of FAMILIES is an architecture by its model_type. `names` maps transformers' names, N for a layer's number, to
network.py's; where one matrix there is several here, one upon the other, they are listed. To add one: a table of names,
a function that makes its EncoderShape and, for cross-encoders, its head; and a row of KINDS in tests/tiny_encoders.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nitro.engines.backends.mlx.encoders.network import ACTIVATIONS, EncoderShape

Config = Mapping[str, Any]
Names = Mapping[str, tuple[str, ...]]

MAX_SIZE = 2**24  # that any number in a configuration may say


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """The layers that make scores of a cross-encoder's vectors."""

    names: Names  # of transformers → of heads.py
    activation: str = "tanh"  # after its dense layer
    pooling: Literal["cls", "mean"] = "cls"
    norm: bool = False  # after the activation
    biases: bool = True  # of the dense layer and the norm


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFamily:
    """An architecture. `prefixes`: what may stand before all names but the head's. `ignored`: beginnings of
    the names of what no vector depends on."""

    names: Names
    shape: Callable[[Config], EncoderShape]
    prefixes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ("pooler.", "cls.", "lm_head.", "embeddings.position_ids")
    head: Callable[[Config], HeadShape] | None = None


def _names(table: Mapping[str, str | tuple[str, ...]]) -> Names:
    return {theirs: (ours,) if isinstance(ours, str) else ours for theirs, ours in table.items()}


_EMBEDDINGS = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "types",
    "embeddings.LayerNorm": "norm",
}
_BERT = _names(
    {
        **_EMBEDDINGS,
        "encoder.layer.N.attention.self.query": "layers.N.attention.query",
        "encoder.layer.N.attention.self.key": "layers.N.attention.key",
        "encoder.layer.N.attention.self.value": "layers.N.attention.value",
        "encoder.layer.N.attention.output.dense": "layers.N.attention.output",
        "encoder.layer.N.attention.output.LayerNorm": "layers.N.attention_norm",
        "encoder.layer.N.intermediate.dense": "layers.N.feed_forward.up",
        "encoder.layer.N.output.dense": "layers.N.feed_forward.down",
        "encoder.layer.N.output.LayerNorm": "layers.N.feed_forward_norm",
    }
)
_DISTILBERT = _names(
    {
        **_EMBEDDINGS,
        "transformer.layer.N.attention.q_lin": "layers.N.attention.query",
        "transformer.layer.N.attention.k_lin": "layers.N.attention.key",
        "transformer.layer.N.attention.v_lin": "layers.N.attention.value",
        "transformer.layer.N.attention.out_lin": "layers.N.attention.output",
        "transformer.layer.N.sa_layer_norm": "layers.N.attention_norm",
        "transformer.layer.N.ffn.lin1": "layers.N.feed_forward.up",
        "transformer.layer.N.ffn.lin2": "layers.N.feed_forward.down",
        "transformer.layer.N.output_layer_norm": "layers.N.feed_forward_norm",
    }
)
_MPNET = _names(
    {
        **_EMBEDDINGS,
        "encoder.relative_attention_bias": "distances",
        "encoder.layer.N.attention.attn.q": "layers.N.attention.query",
        "encoder.layer.N.attention.attn.k": "layers.N.attention.key",
        "encoder.layer.N.attention.attn.v": "layers.N.attention.value",
        "encoder.layer.N.attention.attn.o": "layers.N.attention.output",
        "encoder.layer.N.attention.LayerNorm": "layers.N.attention_norm",
        "encoder.layer.N.intermediate.dense": "layers.N.feed_forward.up",
        "encoder.layer.N.output.dense": "layers.N.feed_forward.down",
        "encoder.layer.N.output.LayerNorm": "layers.N.feed_forward_norm",
    }
)
_QKV = tuple(f"layers.N.attention.{part}" for part in ("query", "key", "value"))
_NOMIC = _names(
    {
        **_EMBEDDINGS,
        "emb_ln": "norm",
        "encoder.layers.N.attn.Wqkv": _QKV,
        "encoder.layers.N.attn.out_proj": "layers.N.attention.output",
        "encoder.layers.N.norm1": "layers.N.attention_norm",
        "encoder.layers.N.mlp.fc11": "layers.N.feed_forward.up",
        "encoder.layers.N.mlp.fc12": "layers.N.feed_forward.gate",
        "encoder.layers.N.mlp.fc2": "layers.N.feed_forward.down",
        "encoder.layers.N.norm2": "layers.N.feed_forward_norm",
    }
)
_MODERNBERT = _names(
    {
        "embeddings.tok_embeddings": "words",
        "embeddings.norm": "norm",
        "layers.N.attn_norm": "layers.N.attention_norm",
        "layers.N.attn.Wqkv": _QKV,
        "layers.N.attn.Wo": "layers.N.attention.output",
        "layers.N.mlp_norm": "layers.N.feed_forward_norm",
        "layers.N.mlp.Wi": ("layers.N.feed_forward.gate", "layers.N.feed_forward.up"),
        "layers.N.mlp.Wo": "layers.N.feed_forward.down",
        "final_norm": "last_norm",
    }
)

# heads, as transformers' …ForSequenceClassification have them
_POOLER_HEAD = HeadShape(names=_names({"pooler.dense": "dense", "classifier": "output"}))
_ROBERTA_HEAD = HeadShape(names=_names({"classifier.dense": "dense", "classifier.out_proj": "output"}))
_DISTILBERT_HEAD = HeadShape(names=_names({"pre_classifier": "dense", "classifier": "output"}), activation="relu")


def _bert(config: Config) -> EncoderShape:
    return EncoderShape(
        **_sizes(config),
        eps=config.get("layer_norm_eps", 1e-12),
        activation=_activation(config.get("hidden_act", "gelu")),
        positions=_size(config, "max_position_embeddings", 512),
        types=_size(config, "type_vocab_size", 2),
    )


def _roberta(config: Config) -> EncoderShape:
    """Positions are counted from behind the padding token's id."""
    first = config.get("pad_token_id", 1) + 1
    return EncoderShape(
        **_sizes(config),
        eps=config.get("layer_norm_eps", 1e-12),
        activation=_activation(config.get("hidden_act", "gelu")),
        positions=_size(config, "max_position_embeddings", 514),
        first_position=first,
        types=_size(config, "type_vocab_size", 1),
    )


def _distilbert(config: Config) -> EncoderShape:
    return EncoderShape(
        width=_size(config, "dim", 768),
        layers=_size(config, "n_layers", 6),
        heads=_size(config, "n_heads", 12),
        feed_forward=_size(config, "hidden_dim", 3072),
        vocabulary=_size(config, "vocab_size"),
        eps=1e-12,
        activation=_activation(config.get("activation", "gelu")),
        positions=_size(config, "max_position_embeddings", 512),
    )


def _mpnet(config: Config) -> EncoderShape:
    if config.get("relative_attention_num_buckets", 32) != 32:
        raise ValueError("relative_attention_num_buckets is not 32")
    return EncoderShape(
        **_sizes(config),
        eps=config.get("layer_norm_eps", 1e-12),
        activation=_activation(config.get("hidden_act", "gelu")),
        positions=_size(config, "max_position_embeddings", 514),
        first_position=2,
        by_distance=True,
    )


# of nomic's own code, whose names transformers has changed: ours by theirs
_NOMIC_KEYS = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "layer_norm_epsilon": "layer_norm_eps",
    "rotary_emb_base": "rope_theta",
}
# what would be another network, and the values for which it is this one
_NOMIC_ONLY: dict[str, tuple[Any, ...]] = {
    "prenorm": (False,),
    "use_rms_norm": (False, None),
    "rotary_emb_fraction": (1.0,),
    "rotary_emb_interleaved": (False,),
    "activation_function": ("swiglu",),
    "qkv_proj_bias": (False,),
    "mlp_fc1_bias": (False,),
    "mlp_fc2_bias": (False,),
    "num_experts": (0, None),
    "moe_every_n_layers": (0, -1, None),
    "hidden_act": ("silu",),
}


def _nomic(config: Config) -> EncoderShape:
    """Its own code scales rotations where a text is longer than max_trained_positions; here none is."""
    for key, values in _NOMIC_ONLY.items():
        if config.get(key, values[0]) not in values:
            raise ValueError(f"{key} is {config[key]}; supported is {values[0]}")
    settings = {_NOMIC_KEYS.get(key, key): value for key, value in config.items()}
    rotation = settings.get("rope_parameters") or {}
    return EncoderShape(
        **_sizes(settings),
        eps=settings.get("layer_norm_eps", 1e-12),
        activation="silu",
        types=_size(settings, "type_vocab_size", 2),
        rotation=float(rotation.get("rope_theta", settings.get("rope_theta", 1000.0))),
        gated=True,
        biases=frozenset({"norms"}),
    )


def _modernbert(config: Config) -> EncoderShape:
    layers = _size(config, "num_hidden_layers")
    every = config.get("global_attn_every_n_layers", 3)
    types = config.get("layer_types") or ["sliding_attention" if n % every else "full_attention" for n in range(layers)]
    has_bias = {"attention": "attention_bias", "feed_forward": "mlp_bias", "norms": "norm_bias"}
    return EncoderShape(
        **_sizes(config),
        eps=config.get("norm_eps", 1e-5),
        activation=_activation(config.get("hidden_activation", "gelu")),
        rotation=_rotation(config, "full_attention", "global_rope_theta", 160000.0),
        local_rotation=_rotation(config, "sliding_attention", "local_rope_theta", 10000.0),
        window=_size(config, "local_attention", 128) // 2,
        local=frozenset(n for n, kind in enumerate(types) if kind == "sliding_attention"),
        norms_first=True,
        gated=True,
        biases=frozenset(part for part, key in has_bias.items() if config.get(key, False)),
    )


def _rotation(config: Config, kind: str, old_key: str, default: float) -> float:
    said = (config.get("rope_parameters") or {}).get(kind) or {}
    if said.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type is {said['rope_type']}; supported is default")
    return float(said.get("rope_theta") or config.get(old_key) or default)


def _modernbert_head(config: Config) -> HeadShape:
    if config.get("classifier_activation", "gelu") != "gelu" or config.get("classifier_bias", False):
        raise ValueError("its head has another activation than gelu, or a bias")
    if config.get("norm_bias", False):
        raise ValueError("its head's norm has a bias")
    return HeadShape(
        names=_names({"head.dense": "dense", "head.norm": "norm", "classifier": "output"}),
        activation="gelu",
        pooling="mean" if config.get("classifier_pooling") == "mean" else "cls",
        norm=True,
        biases=False,
    )


def _sizes(config: Config) -> dict[str, Any]:
    return {
        "width": _size(config, "hidden_size"),
        "layers": _size(config, "num_hidden_layers"),
        "heads": _size(config, "num_attention_heads"),
        "feed_forward": _size(config, "intermediate_size"),
        "vocabulary": _size(config, "vocab_size"),
    }


def _size(config: Config, key: str, default: int | None = None) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or not 0 < value < MAX_SIZE:
        raise ValueError(f"config.json says {key} is {value}")
    return value


def _activation(name: Any) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"its activation is {name}; supported are {', '.join(ACTIVATIONS)}")
    return str(name)


_ROBERTA = EncoderFamily(
    names=_BERT, shape=_roberta, prefixes=("roberta.", "xlm_roberta."), head=lambda config: _ROBERTA_HEAD
)
FAMILIES: Mapping[str, EncoderFamily] = {
    "bert": EncoderFamily(names=_BERT, shape=_bert, prefixes=("bert.",), head=lambda config: _POOLER_HEAD),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": EncoderFamily(
        names=_DISTILBERT,
        shape=_distilbert,
        prefixes=("distilbert.",),
        ignored=("vocab_",),
        head=lambda config: _DISTILBERT_HEAD,
    ),
    "mpnet": EncoderFamily(names=_MPNET, shape=_mpnet, prefixes=("mpnet.",), head=lambda config: _ROBERTA_HEAD),
    "nomic_bert": EncoderFamily(names=_NOMIC, shape=_nomic),
    "modernbert": EncoderFamily(
        names=_MODERNBERT,
        shape=_modernbert,
        prefixes=("model.",),
        ignored=("head.", "decoder."),
        head=_modernbert_head,
    ),
}
