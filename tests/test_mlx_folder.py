"""Folders in mlx-lm's layout: what is read of them, and which are refused, by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import KINDS, RECOMMENDED, TEMPLATE, write_folder
from tokenizers import Tokenizer, decoders, models

from bench.converted_families import write_converted
from nitro.convert import gguf_to_mlx
from nitro.engines.backends.mlx.folder_loader import CONTEXT, open_folder
from nitro.engines.runner import LoadError
from nitro.engines.sampling_defaults import SamplingDefaults


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model", "plain")


def edit(file: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    change(content)
    file.write_text(json.dumps(content))


def test_what_is_read(folder: Path) -> None:
    model = open_folder(folder)
    assert model.trained_context == 512
    assert (model.bos, model.eos, model.template) == ("<|im_start|>", "<|im_end|>", TEMPLATE)
    assert model.sampling == SamplingDefaults(**{**RECOMMENDED, "repeat_last_n": None})
    text = "<|im_start|>user\nnaïve 12 😀<|im_end|>"
    tokens = model.tokenizer.encode(text)
    assert tokens[0] == 1 and tokens[-1] == 2
    assert b"".join(map(model.tokenizer.token_bytes, tokens)).decode() == "user\nnaïve 12 😀"


def test_a_tokenizer_that_adds_tokens_cuts_and_pads(folder: Path) -> None:
    """What a tokenizer.json was saved with concerns training: a prompt is encoded as it stands."""
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain = open_folder(folder).tokenizer.encode("one two three")
    words.enable_truncation(2)
    words.enable_padding(length=50)
    words.save(str(folder / "tokenizer.json"))
    assert open_folder(folder).tokenizer.encode("one two three") == plain


def test_ends(folder: Path) -> None:
    """Those of the configuration, the tokenizer's, and those known by what they are called. As in transformers,
    generation_config.json wins over config.json."""
    assert open_folder(folder).eog >= {0, 2}  # <|endoftext|>, <|im_end|>
    edit(folder / "config.json", lambda c: c.update(eos_token_id=[700, 701]))
    edit(folder / "tokenizer_config.json", lambda c: c.update(eos_token="<|im_start|>"))
    assert open_folder(folder).eog == {0, 1, 2, 4, 700, 701}
    edit(folder / "generation_config.json", lambda c: c.update(eos_token_id=702))
    assert open_folder(folder).eog == {0, 1, 2, 4, 702}


def test_no_ends_named(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c.pop("eos_token_id"))
    edit(folder / "tokenizer_config.json", lambda c: c.update(eos_token=None))
    model = open_folder(folder)
    assert model.eos == "" and model.eog >= {0, 2}


def test_templates(folder: Path) -> None:
    """A file wins over the configuration; of several the one called default is it, and tool_use is for tools."""
    about = folder / "tokenizer_config.json"
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    edit(about, lambda c: c.update(chat_template=several))
    assert templates(folder) == ("plain", "tools")
    edit(about, lambda c: c.update(chat_template="alone"))
    assert templates(folder) == ("alone", None)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools from the file")
    assert templates(folder) == ("alone", "tools from the file")
    edit(about, lambda c: c.pop("chat_template"))
    assert templates(folder) == (None, "tools from the file")
    (folder / "chat_template.jinja").write_text("from the file")
    assert templates(folder) == ("from the file", "tools from the file")
    about.unlink()
    assert open_folder(folder).bos == ""


def templates(folder: Path) -> tuple[str | None, str | None]:
    """For requests without tools, and with."""
    model = open_folder(folder)
    return model.template, model.tool_template


def test_sampling_defaults(folder: Path) -> None:
    values = {"temperature": 1, "top_k": 20.0, "top_p": None, "typical_p": 0.9, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(values))
    assert open_folder(folder).sampling == SamplingDefaults(temperature=1.0, top_k=20, typical_p=0.9)


def test_the_context(folder: Path, tmp_path: Path) -> None:
    edit(folder / "config.json", lambda c: c.update(max_position_embeddings=77))
    assert open_folder(folder).trained_context == 77
    assert open_folder(write_folder(tmp_path / "recurrent", "arrays")).trained_context == CONTEXT
    nested = open_folder(write_folder(tmp_path / "nested", "chunked"))
    assert nested.trained_context == KINDS["chunked"]["text_config"]["max_position_embeddings"]


def test_a_context_that_only_mlx_lm_knows(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", "rotating")
    edit(folder / "config.json", lambda c: c.pop("max_position_embeddings"))
    assert open_folder(folder).trained_context == 32768


def test_added_tokens_of_a_sentencepiece_vocabulary(folder: Path) -> None:
    """Runs of spaces are such tokens in some, written as in the rest of the vocabulary."""
    words = Tokenizer(models.BPE({"a": 0, "<0x0A>": 1}, [], byte_fallback=True))
    words.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    words.add_tokens(["▁▁", "<tool_call>"])
    words.add_special_tokens(["<eos>"])
    words.save(str(folder / "tokenizer.json"))
    tokenizer = open_folder(folder).tokenizer
    assert [tokenizer.token_bytes(id) for id in range(5)] == [b"a", b"\n", b"  ", b"<tool_call>", b""]


def test_a_folder_that_mlx_lm_would_not_find(tmp_path: Path) -> None:
    refuse(write_folder(tmp_path / "m [4bit]", "plain"), "rename it")


def test_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", "plain", seed=1)
    prints = [open_folder(each).fingerprint for each in (folder, other, folder)]
    assert prints[0] == prints[2] != prints[1]


def test_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refuse(folder, "has no tokenizer.json", "save_pretrained")


def test_a_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    refuse(folder, "tokenizer.json cannot be read")


def test_a_tokenizer_of_another_kind(folder: Path) -> None:
    Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1})).save(str(folder / "tokenizer.json"))
    refuse(folder, "neither a byte-level nor a SentencePiece tokenizer")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refuse(folder, "mlx-lm cannot load", "No safetensors")


def test_damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"nonsense")
    refuse(folder, "mlx-lm cannot load")


def test_weights_of_another_model(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c.update(num_hidden_layers=3))
    refuse(folder, "mlx-lm cannot load")


def test_an_unknown_architecture(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c.update(model_type="bert"))
    refuse(folder, "mlx-lm cannot load", "bert")


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json"])
def test_a_broken_configuration(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    refuse(folder, f"{name} cannot be read")


@pytest.mark.parametrize(
    "settings",
    [
        {"key_multiplier": 0.5},
        {"attention_in_multiplier": 1.25},
        {"mamba_rms_norm": True, "mamba_n_groups": 2},
    ],
)
def test_settings_that_mlx_lm_ignores(tmp_path: Path, settings: dict) -> None:
    """Without them, it is the model that it should be; also where config.json says that they do nothing."""
    folder = write_folder(tmp_path / "falcon", "list of arrays and plain")
    edit(folder / "config.json", lambda c: c.update(dict.fromkeys(settings, 1) | {"mamba_rms_norm": False}))
    open_folder(folder)
    edit(folder / "config.json", lambda c: c.update(settings))
    name = next(iter(settings))
    refuse(folder, f"{name} is {settings[name]}, which mlx-lm's falcon_h1 ignores", "nitro convert ORIGINAL --to gguf")


def test_settings_for_which_mlx_lm_has_other_defaults(tmp_path: Path) -> None:
    """transformers has no limit of Granite hybrid's time steps, and rotates no positions, unless it is told to."""
    (folder := tmp_path / "granite").mkdir()
    gguf_to_mlx.convert(write_converted(tmp_path / "granite.gguf", "granitehybrid"), folder)
    names = ("time_step_limit", "position_embedding_type")
    right = ([0.0, 1e30], "nope")
    for changes, found in (
        (lambda c: c.update(dict.fromkeys(names)), right),
        (lambda c: [c.pop(name) for name in names], right),
        (lambda c: c.update(dict(zip(names, ([0.5, 2.0], "rope"), strict=True))), ([0.5, 2.0], "rope")),
    ):
        edit(folder / "config.json", changes)
        settings = open_folder(folder).network.args
        assert tuple(getattr(settings, name) for name in names) == found


def test_code_in_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "network.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit(folder / "config.json", lambda c: c.update(model_file="network.py"))
    refuse(folder, "model_file", "is never run")
    assert not (tmp_path / "ran").exists()


def refuse(folder: Path, *words: str) -> None:
    with pytest.raises(LoadError) as caught:
        open_folder(folder)
    for word in (str(folder), *words):
        assert word in str(caught.value)
