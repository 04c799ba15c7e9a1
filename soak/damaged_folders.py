"""Damages of a model's folder, as changes to an intact one. See damaged.py."""

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

TEXTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ODD: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**63, 10**30, 10**9, 1.5, -0.0, float("nan"), float("inf"), True, None),
    *("", "many", "\ud800", [], [[]], {}, {"a": {}}, [None] * 5, "x" * 10**5),
)

Damage = Callable[[Path, Random], None]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def _edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**_read(file), **changes}))


# Files


def missing_file(folder: Path, random: Random) -> None:
    """A file is missing."""
    (folder / random.choice((*TEXTS, WEIGHTS))).unlink()


def cut(folder: Path, random: Random) -> None:
    """A file ends early."""
    file = folder / random.choice((*TEXTS, WEIGHTS, WEIGHTS))
    content = file.read_bytes()
    file.write_bytes(content[: random.choice((0, 1, random.randrange(len(content)), len(content) - 1))])


def flipped(folder: Path, random: Random) -> None:
    """Some bits of a file are flipped."""
    file = folder / random.choice((*TEXTS, WEIGHTS))
    content = bytearray(file.read_bytes())
    for _ in range(random.choice((1, 4, 32))):
        content[random.randrange(min(len(content), 5000))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def other_content(folder: Path, random: Random) -> None:
    """A file is something else."""
    pages = (b"\0" * 100, b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", random.randbytes(2000))
    (folder / random.choice((*TEXTS, WEIGHTS))).write_bytes(random.choice(pages))


def no_file(folder: Path, random: Random) -> None:
    """A link, a folder, a pipe or a device in the place of a file."""
    file = folder / random.choice((*TEXTS, WEIGHTS, "chat_template.jinja", INDEX))
    file.unlink(missing_ok=True)
    kind = random.choice(("loop", "nowhere", "folder", "pipe", "device", "itself"))
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to({"loop": file.name, "nowhere": "/nowhere", "device": "/dev/zero", "itself": "."}[kind])


def a_socket(folder: Path, random: Random) -> None:
    """A socket in the place of a file."""
    file, here = random.choice((WEIGHTS, *TEXTS)), os.open(folder, os.O_RDONLY)
    (folder / file).unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/{file}")
    os.close(here)


# JSON


def other_json(folder: Path, random: Random) -> None:
    """A file has other JSON, or none."""
    deep = random.choice((100, 5000, 200000))
    texts = ("[]", "null", "3", '"text"', "{}", "[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep, "{'a': 1}")
    (folder / random.choice(TEXTS)).write_text(random.choice((*texts, "NaN", "\ufeff{}", "{}{}")))


def no_utf8(folder: Path, random: Random) -> None:
    """A file is not UTF-8."""
    file = folder / random.choice(TEXTS)
    file.write_bytes(file.read_bytes().replace(b"e", b"\xff", 1))


def no_utf8_template(folder: Path, random: Random) -> None:
    """The chat template is not UTF-8."""
    (folder / "chat_template.jinja").write_bytes(b"{{ messages }}" + random.choice((b"\xff", b"\xed\xa0\x80")))


def setting(folder: Path, random: Random) -> None:
    """One value of config.json is odd."""
    file = folder / "config.json"
    _edit(file, **{random.choice(list(_read(file))): random.choice(ODD)})


def size(folder: Path, random: Random) -> None:
    """One of the model's sizes is changed."""
    file = folder / "config.json"
    sizes = [key for key, value in _read(file).items() if isinstance(value, int)]
    _edit(file, **{random.choice(sizes): random.choice((0, -1, 3, 10**6, 10**9, 2**40, 2**63, 10**30))})


def missing_setting(folder: Path, random: Random) -> None:
    """A key of config.json is missing."""
    file = folder / "config.json"
    config = _read(file)
    del config[random.choice(list(config))]
    file.write_text(json.dumps(config))


def new_setting(folder: Path, random: Random) -> None:
    """One more key in config.json, which libraries read."""
    keys = (
        "text_config",
        "quantization",
        "quantization_config",
        "rope_scaling",
        "rope_theta",
        "head_dim",
        "model_file",
    )
    more = ("auto_map", "architectures", "sliding_window", "layer_types", "rope_parameters", "converted_from", "dtype")
    odd = ({"group_size": 0, "bits": 0}, {"group_size": 64, "bits": 4}, {"type": "none"}, {"rope_type": "yarn"}, ["x"])
    _edit(folder / "config.json", **{random.choice(keys + more): random.choice((*ODD, *odd))})


def model_type(folder: Path, random: Random) -> None:
    """Another or an odd model_type."""
    kinds = ("", "brandnew", "qwen2", "mamba", "bert", "switch_layers", "../../etc", "a.b", "llama\0", "x" * 10**5)
    _edit(folder / "config.json", model_type=random.choice(kinds))


def generation(folder: Path, random: Random) -> None:
    """Odd values in generation_config.json."""
    keys = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "eos_token_id")
    changes = {key: random.choice(ODD) for key in random.sample(keys, 3)}
    _edit(folder / "generation_config.json", **changes)


def huge_generation(folder: Path, random: Random) -> None:
    """Huge numbers in generation_config.json."""
    digits = random.choice((400, 4000, 10**5))
    content = f'{{"top_k": {"9" * digits}, "temperature": 1e{digits}, "eos_token_id": {"9" * 30}}}'
    (folder / "generation_config.json").write_text(content)


def tokenizer_config(folder: Path, random: Random) -> None:
    """An odd value in tokenizer_config.json."""
    keys = (
        "chat_template",
        "bos_token",
        "eos_token",
        "tokenizer_class",
        "add_bos_token",
        "auto_map",
        "model_max_length",
    )
    odd = ("{% for", "{{ x }" * 999, [{"name": "default"}], [1], {"content": None}, {"content": {"content": 1}})
    _edit(folder / "tokenizer_config.json", **{random.choice(keys): random.choice((*ODD, *odd))})


# The tokenizer


def tokenizer_part(folder: Path, random: Random) -> None:
    """An odd part of tokenizer.json."""
    file = folder / "tokenizer.json"
    _edit(file, **{random.choice(list(_read(file))): random.choice((*ODD, {"type": "Unknown"}))})


def tokenizer_model(folder: Path, random: Random) -> None:
    """An odd vocabulary, merges or kind in tokenizer.json."""
    file = folder / "tokenizer.json"
    model = _read(file)["model"]
    vocabularies = ({}, {"a": 0}, {"a": 10**9}, {"a": -1}, {"a": 2**40}, dict.fromkeys("abc", 0), [["a", 0.0]], None)
    changes = {
        "vocab": random.choice(vocabularies),
        "merges": random.choice(([["no", "such"]], ["one"], [[1, 2]], None, [["a"] * 5])),
        "type": random.choice(("WordPiece", "Unigram", "WordLevel", "Other", 3)),
    }
    key = random.choice(list(changes))
    _edit(file, model={**model, key: changes[key]})


def added_tokens(folder: Path, random: Random) -> None:
    """Odd added tokens in tokenizer.json."""
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    ids = (-1, 5, 10**9, 2**40, 1024)
    added = [{**token, "id": random.choice(ids), "content": content} for content in ("", "<a>", "<a>", "x" * 10**5)]
    _edit(folder / "tokenizer.json", added_tokens=random.choice((added, [{}], "none", added * 1000)))


# Weights


def _header(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / WEIGHTS
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    head = json.loads(content[8 : 8 + length])
    change(head)
    text = json.dumps(head).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def header_length(folder: Path, random: Random) -> None:
    """A wrong length of the header of the weights."""
    file = folder / WEIGHTS
    length = random.choice((0, 1, 7, 2**20, 2**31, 2**40, 2**63, 2**64 - 1))
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])


def header_text(folder: Path, random: Random) -> None:
    """Another header of the weights."""
    deep = random.choice((100, 100000))
    text = random.choice((b"[]", b"null", b"{", b"[" * deep, b'{"a":' * deep, b"\xff" * 50, b"{}"))
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + bytes(1000))


def tensor_entry(folder: Path, random: Random) -> None:
    """An odd entry of one tensor."""

    def change(head: dict[str, Any]) -> None:
        entry = head[random.choice([name for name in head if name != "__metadata__"])]
        changes = {
            "dtype": random.choice(("F8", "I64", "U32", "BOOL", "", 3, None)),
            "shape": random.choice(([], [0], [-1, 64], [2**40, 2**40], ["a"], 5, None, [1.5], [64] * 20)),
            "data_offsets": random.choice(([0, 0], [10, 5], [-8, 8], [0, 2**50], [0], [], "no", [0.5, 8])),
        }
        key = random.choice(list(changes))
        entry[key] = changes[key]

    _header(folder, change)


def tensor_names(folder: Path, random: Random) -> None:
    """A tensor is missing or has another name."""

    def change(head: dict[str, Any]) -> None:
        names = [name for name in head if name != "__metadata__"]
        kind, name = random.choice(("missing", "renamed", "all", "metadata")), random.choice(names)
        entry = head.pop(name)
        if kind == "renamed":
            head[random.choice(("", "model.layers.99.x", "x" * 10**4, "\n", "a.0.b", "model.layers.0"))] = entry
        if kind == "all":
            head.clear()
        if kind == "metadata":
            head |= {name: entry, "__metadata__": random.choice(({"format": 3}, [], "mlx", None))}

    _header(folder, change)


def weights(folder: Path, random: Random) -> None:
    """The weights are NaN, zero or random."""
    file = folder / WEIGHTS
    content = file.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    length = len(content) - start
    file.write_bytes(content[:start] + random.choice((b"\xff" * length, bytes(length), random.randbytes(length))))


def shards(folder: Path, random: Random) -> None:
    """An odd index of shards."""
    names = (
        "model-00001-of-00002.safetensors",
        "../model.safetensors",
        "/etc/hostname",
        "",
        3,
        None,
        "x" * 300,
        "a\0b",
    )
    maps: tuple[Any, ...] = ({"a": random.choice(names)}, dict.fromkeys("abc", WEIGHTS), [], None, {"a": {}}, "no")
    (folder / INDEX).write_text(json.dumps({"weight_map": random.choice(maps)}))
    if random.random() < 0.5:
        (folder / WEIGHTS).rename(folder / random.choice(("model-00001-of-00002.safetensors", "other.safetensors")))


DAMAGES: dict[str, Damage] = {
    damage.__name__.replace("_", " "): damage
    for damage in (
        *(missing_file, cut, flipped, other_content, no_file, a_socket),
        *(other_json, no_utf8, no_utf8_template, setting, size, missing_setting, new_setting, model_type),
        *(generation, huge_generation, tokenizer_config, tokenizer_part, tokenizer_model, added_tokens),
        *(header_length, header_text, tensor_entry, tensor_names, weights, shards),
    )
}
