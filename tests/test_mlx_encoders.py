"""Encoders on MLX give what transformers gives with the same weights, in a batch as alone. What is not known is
refused."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
from safetensors.numpy import load_file, save_file

from bench import minilm
from nitro.checkpoints.encoders import MODEL_TYPES
from nitro.engines.backends.mlx.encoders.families import FAMILIES
from nitro.engines.backends.mlx.encoders.runner import EncoderRunner
from nitro.engines.backends.mlx.runners import make
from nitro.engines.embedder import Pair
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

RECORD = tiny_encoders.record()
EMBED = [kind for kind, found in RECORD.items() if "mean" in found]
CROSS = [kind for kind, found in RECORD.items() if "logits" in found and len(found["logits"][0]) == 1]
CLOSE = 2e-5


def opened(folder: Path, **options: Any) -> EncoderRunner:
    runner = make(EngineSpec(engine="mlx", model=str(folder), **options))
    assert isinstance(runner, EncoderRunner)
    return runner


def vectors(runner: EncoderRunner, rows: list[list[int]]) -> np.ndarray:
    return np.array([np.frombuffer(vector, "<f4") for vector in runner.embed(rows)])


@pytest.mark.parametrize("kind", EMBED)
def test_vectors_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    runner = opened(tiny_encoders.write(tmp_path, kind))
    rows = [first + second for first, second in tiny_encoders.PAIRS]
    wanted = np.array(RECORD[kind]["mean"])
    if RECORD[kind]["config"].get("type_vocab_size", 0) > 1:  # recorded as pairs, and embedded as one text
        rows, wanted = rows[0::4], wanted[0::4]
    together = vectors(runner, rows)
    assert np.abs(together - wanted).max() < CLOSE
    alone = np.concatenate([vectors(runner, [row]) for row in rows])
    assert np.abs(together - alone).max() < CLOSE


@pytest.mark.parametrize("kind", CROSS)
def test_scores_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    runner = opened(tiny_encoders.write(tmp_path, kind))
    assert runner.info.rerank and not runner.info.embedding and not runner.info.generates
    pairs = [Pair(first + second, len(first)) for first, second in tiny_encoders.PAIRS]
    assert np.abs(np.array(runner.score(pairs)) - np.array(RECORD[kind]["logits"])[:, 0]).max() < CLOSE
    assert np.abs(np.array(runner.score(pairs)) - [runner.score([pair])[0] for pair in pairs]).max() < CLOSE


def test_the_second_text_is_told_from_the_first(tmp_path: Path) -> None:
    runner = opened(tiny_encoders.write(tmp_path, "bert, cross"))
    first, second = tiny_encoders.PAIRS[1]
    tokens = first + second
    one, other = runner.score([Pair(tokens, len(first)), Pair(tokens, len(tokens))])
    assert abs(one - other) > 0.01


def test_deterministic(tmp_path: Path) -> None:
    runner = opened(tiny_encoders.write(tmp_path, "bert"), deterministic=True)
    rows = [first + second for first, second in tiny_encoders.PAIRS]
    assert runner.info.deterministic
    assert runner.embed(rows) == [runner.embed([row])[0] for row in rows]


def test_the_known_architectures() -> None:
    assert FAMILIES.keys() == MODEL_TYPES
    assert {found["config"]["model_type"] for found in RECORD.values()} >= MODEL_TYPES - {"camembert"}


def test_minilm() -> None:
    """all-MiniLM-L6-v2 as its package holds it, texts and all: what transformers computes, by cosine."""
    recorded = json.loads((Path(__file__).parent / "data" / "minilm_vectors.json").read_text(encoding="utf-8"))
    runner = opened(minilm.folder())
    about = runner.info.embedding
    assert about and (about.width, about.pooling, about.longest) == (384, "mean", 512)
    short = [place for place, text in enumerate(recorded["texts"]) if len(text) < 100]
    texts = [recorded["texts"][place] for place in short]
    rows = [[*about.before, *runner.tokenizer.encode(text), *about.after] for text in texts]
    wanted = _unit([base64.b64decode(recorded["vectors"][place]) for place in short])
    assert [len(row) for row in rows] == [recorded["tokens"][place] for place in short]
    cosines = (_unit(runner.embed(rows)) * wanted).sum(axis=1)
    assert len(short) >= 5 and cosines.min() > 0.99999


class TestSentenceFiles:
    """What sentence-transformers keeps beside a model is followed."""

    @pytest.mark.parametrize(("key", "pooled"), [("cls_token", 0), ("lasttoken", -1)])
    def test_pooling(self, key: str, pooled: int, tmp_path: Path) -> None:
        folder = tiny_encoders.write_sentence_files(tiny_encoders.write(tmp_path, "bert"), key)
        runner = opened(folder)
        row = tiny_encoders.PAIRS[2][0]
        hidden = np.array(runner._model.network(*_arrays(row)))[0]
        assert np.abs(vectors(runner, [row])[0] - hidden[pooled]).max() < CLOSE
        assert runner.info.embedding and runner.info.embedding.pooling == ("cls" if pooled == 0 else "last")

    def test_the_largest(self, tmp_path: Path) -> None:
        folder = tiny_encoders.write_sentence_files(tiny_encoders.write(tmp_path, "roberta"), "max_tokens")
        runner = opened(folder)
        rows = [first + second for first, second in tiny_encoders.PAIRS]
        hidden = np.array(runner._model.network(*_arrays(rows[2])))[0]
        assert np.abs(vectors(runner, rows)[2] - hidden.max(axis=0)).max() < CLOSE

    def test_prompts(self, tmp_path: Path) -> None:
        prompts = {"query": "query: ", "document": ""}
        folder = tiny_encoders.write_sentence_files(
            tiny_encoders.write(tmp_path, "bert"), "mean_tokens", prompts=prompts, default_prompt_name="query"
        )
        about = opened(folder).info.embedding
        assert about and about.prefixes == {"query": "query: ", "document": ""} and about.default_prefix == "query: "

    def test_dense_layers(self, tmp_path: Path) -> None:
        folder = tiny_encoders.write_sentence_files(tiny_encoders.write(tmp_path, "bert"), "mean_tokens")
        plain = opened(folder)
        random = np.random.default_rng(1)
        weight, bias = random.standard_normal((8, 32)).astype(np.float32), random.standard_normal(8).astype(np.float32)
        (folder / "2_Dense").mkdir()
        save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
        about = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.activation.Tanh"}
        (folder / "2_Dense" / "config.json").write_text(json.dumps(about))
        modules = json.loads((folder / "modules.json").read_text())
        modules.insert(2, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"})
        (folder / "modules.json").write_text(json.dumps(modules))
        runner = opened(folder)
        row = tiny_encoders.PAIRS[1][0]
        wanted = np.tanh(vectors(plain, [row])[0] @ weight.T + bias)
        assert runner.info.embedding and runner.info.embedding.width == 8
        assert np.abs(vectors(runner, [row])[0] - wanted).max() < CLOSE

    @pytest.mark.parametrize(
        ("modules", "problem"),
        [
            ([{"path": "", "type": "x.Transformer"}, {"path": "1_CNN", "type": "x.CNN"}], "of the type CNN"),
            ([{"path": "", "type": "x.Transformer"}, {"path": "../..", "type": "x.Pooling"}], "not inside"),
            ([{"path": "", "type": "x.Transformer"}], "does not begin with"),
        ],
    )
    def test_unknown_modules_are_refused(self, modules: list[dict[str, str]], problem: str, tmp_path: Path) -> None:
        folder = tiny_encoders.write(tmp_path, "bert")
        (folder / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(LoadError, match=problem):
            opened(folder)

    def test_an_unknown_pooling_is_refused(self, tmp_path: Path) -> None:
        folder = tiny_encoders.write_sentence_files(tiny_encoders.write(tmp_path, "bert"), "weightedmean_tokens")
        with pytest.raises(LoadError, match="pools by weightedmean"):
            opened(folder)


class TestRefused:
    """What would be another model is refused by name."""

    @pytest.mark.parametrize(
        ("kind", "settings", "problem"),
        [
            ("bert", {"hidden_act": "quick_gelu"}, "its activation is quick_gelu"),
            ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is relative_key"),
            ("bert", {"num_hidden_layers": 2}, "layers.2"),
            ("bert", {"num_hidden_layers": 4}, "its weights have no layers.3"),
            ("bert", {"num_hidden_layers": 10**6}, "it has 1000000 layers"),
            ("bert", {"num_attention_heads": 5}, "with 5 heads"),
            ("bert", {"intermediate_size": 47}, "has the shape"),
            ("bert", {"hidden_size": "x"}, "hidden_size is x"),
            ("bert", {"quantization": {"bits": 4, "group_size": 32}}, "packed"),
            ("nomic_bert", {"num_experts": 8}, "num_experts is 8"),
            ("bert, two labels", {}, "a classifier with 2 labels"),
        ],
    )
    def test_settings(self, kind: str, settings: dict[str, Any], problem: str, tmp_path: Path) -> None:
        with pytest.raises(LoadError, match=problem):
            opened(tiny_encoders.write(tmp_path, kind, settings))

    def test_tensors_that_nobody_knows(self, tmp_path: Path) -> None:
        folder = tiny_encoders.write(tmp_path, "bert")
        arrays = load_file(folder / "model.safetensors")
        save_file({**arrays, "adapter.weight": arrays["embeddings.LayerNorm.bias"]}, folder / "model.safetensors")
        with pytest.raises(LoadError, match=r"its tensor adapter\.weight is not known"):
            opened(folder)

    def test_no_numbers(self, tmp_path: Path) -> None:
        folder = tiny_encoders.write(tmp_path, "bert")
        arrays = load_file(folder / "model.safetensors")
        arrays["embeddings.LayerNorm.bias"][3] = np.nan
        save_file(arrays, folder / "model.safetensors")
        with pytest.raises(LoadError, match="no number"):
            opened(folder)

    def test_a_draft_model(self, tmp_path: Path) -> None:
        with pytest.raises(LoadError, match="--draft"):
            opened(tiny_encoders.write(tmp_path, "bert"), draft="x")


def _arrays(row: list[int]) -> tuple[Any, Any]:
    import mlx.core as mx

    return mx.array([row]), mx.array([len(row)])


class TestDecoders:
    """Models that mlx-lm knows as generating ones."""

    def test_chat_models_embed_beside_chat(self, tmp_path: Path) -> None:
        """As llama.cpp does with the same file; long texts in parts; without touching a slot."""
        from tiny_models import write_gguf

        from nitro.engines.backends import loading

        model = str(write_gguf(tmp_path / "tiny.gguf"))
        rows = [[(7 * i * k + 3) % 90 + 5 for i in range(length)] for k, length in enumerate([1, 9, 60, 300], 1)]
        on_mlx, on_llama = (loading.load(EngineSpec(engine, model)) for engine in ("mlx", "llama"))
        one, other = on_mlx.info.embedding, on_llama.info.embedding
        assert one and other and (one.pooling, one.width, one.before) == (other.pooling, other.width, other.before)
        vectors = [_unit(on_mlx.embed(rows)), _unit(on_llama.embed(rows))]
        assert (vectors[0] * vectors[1]).sum(axis=1).min() > 0.99999
        assert (vectors[0] * _unit([on_mlx.embed([row])[0] for row in rows])).sum(axis=1).min() > 0.999999
        pauses: list[None] = []
        on_mlx.embed([row * 9 for row in rows], lambda: pauses.append(None))
        assert one.pauses and len(pauses) > 3, "text is generated between parts, and between texts"
        on_llama.close()

    @pytest.mark.parametrize("headless", [False, True])
    def test_an_embedding_model_of_a_generating_architecture(self, headless: bool, tmp_path: Path) -> None:
        """Qwen3-Embedding's kind: the last token's vector. sentence-transformers saves it without "model."."""
        folder = _qwen3(tmp_path, headless)
        runner = opened(folder)
        about = runner.info.embedding
        assert about and about.pooling == "last" and about.encoder_only and about.prefixes == {"query": "q: "}
        rows = [[5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 3]]
        together = vectors(runner, rows)
        assert np.abs(together - np.concatenate([vectors(runner, [row]) for row in rows])).max() < CLOSE
        hidden = np.array(runner._model.network(*_arrays(rows[0])))[0]
        assert np.abs(together[0] - hidden[-1]).max() < CLOSE

    def test_what_sees_to_both_sides_is_refused(self, tmp_path: Path) -> None:
        folder = _qwen3(tmp_path, True, use_bidirectional_attention=True)
        with pytest.raises(LoadError, match="use_bidirectional_attention"):
            opened(folder)

    def test_long_texts_are_computed_in_parts(self, tmp_path: Path) -> None:
        from nitro.engines.backends.mlx.encoders.decoder import Decoder

        runner = opened(_qwen3(tmp_path, False))
        row = [(7 * i) % 50 + 5 for i in range(50)]
        whole = vectors(runner, [row])
        assert isinstance(runner._model.network, Decoder)
        runner._model.network.part_tokens = 16
        pauses: list[None] = []
        (found,) = runner.embed([row], lambda: pauses.append(None))
        assert np.abs(np.frombuffer(found, "<f4") - whole[0]).max() < CLOSE
        assert runner.info.embedding and runner.info.embedding.pauses and len(pauses) == 3


def _unit(given: list[bytes]) -> np.ndarray:
    read = np.array([np.frombuffer(vector, "<f4") for vector in given])
    return read / np.linalg.norm(read, axis=1, keepdims=True)


def _qwen3(folder: Path, headless: bool, **settings: Any) -> Path:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models.qwen3 import Model, ModelArgs

    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 32, "num_hidden_layers": 2}
    config |= {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config |= {"vocab_size": 64, "max_position_embeddings": 96, "rms_norm_eps": 1e-6, "rope_theta": 10000.0}
    config |= {"tie_word_embeddings": True}
    mx.random.seed(1)
    network = Model(ModelArgs.from_dict(config))
    found = dict(tree_flatten(network.parameters()))
    arrays = {name.removeprefix("model.") if headless else name: array for name, array in found.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), arrays)
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    tiny_encoders.write_tokenizer(folder)
    return tiny_encoders.write_sentence_files(folder, "lasttoken", prompts={"query": "q: "})
