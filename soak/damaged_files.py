"""Damages of GGUF files, as changes to an intact one. See damaged.py.

Each takes the parts of a file, and returns the bytes of the damaged one.
"""

import struct
from collections.abc import Callable
from random import Random

from soak.gguf_parts import ARRAY, BOOL, FLOAT32, INT32, STRING, UINT32, UINT64, Gguf, text, texts, value

ABSURD = (0, 1, 2, 3, 5, 127, 255, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e-45, 3e38)

Damage = Callable[[Gguf, Random], bytes]

# Bytes


def cut(gguf: Gguf, random: Random) -> bytes:
    """The file ends early."""
    whole = gguf.whole()
    return whole[: random.choice([random.randrange(len(whole)), random.randrange(len(gguf.header())), len(whole) - 1])]


def cut_early(gguf: Gguf, random: Random) -> bytes:
    """Hardly anything of the file is left."""
    return gguf.whole()[: random.randrange(64)]


def flipped(gguf: Gguf, random: Random) -> bytes:
    """Some bits of the header are flipped."""
    whole, end = bytearray(gguf.whole()), len(gguf.header())
    for _ in range(random.choice((1, 2, 8, 64))):
        whole[random.randrange(4, end)] ^= 1 << random.randrange(8)
    return bytes(whole)


def flipped_early(gguf: Gguf, random: Random) -> bytes:
    """Bytes are changed where the counts and the first keys are."""
    whole = bytearray(gguf.whole())
    for _ in range(random.choice((1, 2, 4))):
        whole[random.randrange(4, 400)] = random.randrange(256)
    return bytes(whole)


def flipped_late(gguf: Gguf, random: Random) -> bytes:
    """Bytes are changed among the tensors' names and shapes."""
    whole, end = bytearray(gguf.whole()), len(gguf.header())
    for _ in range(random.choice((1, 2, 4))):
        whole[random.randrange(end - 1000, end)] = random.randrange(256)
    return bytes(whole)


def hole(gguf: Gguf, random: Random) -> bytes:
    """A hole of zeros, as in an unfinished download."""
    whole = bytearray(gguf.whole())
    start = random.randrange(len(whole))
    whole[start : start + 2**16] = bytes(len(whole[start : start + 2**16]))
    return bytes(whole)


def missing_piece(gguf: Gguf, random: Random) -> bytes:
    """Some bytes of the header are missing."""
    whole, start = gguf.whole(), random.randrange(len(gguf.header()))
    return whole[:start] + whole[start + random.choice((1, 4, 8, 100)) :]


def other_content(gguf: Gguf, random: Random) -> bytes:
    """The file is something else."""
    pages = (b"", b"<!DOCTYPE html><html><body>404</body></html>" * 50, b"GGUF", b"GGUF" * 500, random.randbytes(4096))
    return random.choice([*pages, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"])


# Counts, versions, types


def version(gguf: Gguf, random: Random) -> bytes:
    """An unknown version."""
    gguf.version = random.choice((0, 1, 4, 2**16, 0x03000000, 2**32 - 1))
    return gguf.whole()


def counts(gguf: Gguf, random: Random) -> bytes:
    """Absurd counts of tensors and pairs."""
    gguf.counts = (random.choice(ABSURD), random.choice((len(gguf.pairs), *ABSURD)))
    return gguf.whole()


def list_length(gguf: Gguf, random: Random) -> bytes:
    """A list of absurd length."""
    key = random.choice([key for key, value in gguf.pairs.items() if value[:4] == struct.pack("<I", ARRAY)])
    gguf.pairs[key] = gguf.pairs[key][:8] + struct.pack("<Q", random.choice(ABSURD)) + gguf.pairs[key][16:]
    return gguf.whole()


def text_length(gguf: Gguf, random: Random) -> bytes:
    """A string of absurd length."""
    key = random.choice([key for key, value in gguf.pairs.items() if value[:4] == struct.pack("<I", STRING)])
    gguf.pairs[key] = gguf.pairs[key][:4] + struct.pack("<Q", random.choice(ABSURD)) + gguf.pairs[key][12:]
    return gguf.whole()


def value_type(gguf: Gguf, random: Random) -> bytes:
    """A value has another type; its bytes stay."""
    key = random.choice(list(gguf.pairs))
    gguf.pairs[key] = struct.pack("<I", random.choice((*range(14), 255, 2**31))) + gguf.pairs[key][4:]
    return gguf.whole()


def lists_in_lists(gguf: Gguf, random: Random) -> bytes:
    """Lists in lists, up to 20,000 deep."""
    depth = random.choice((10, 2000, 20000))
    gguf.pairs[b"deep"] = struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQ", 0, 0)
    return gguf.whole()


# Metadata


def number(gguf: Gguf, random: Random) -> bytes:
    """One number is changed."""
    keys = [key for key, value in gguf.pairs.items() if struct.unpack("<I", value[:4])[0] in (UINT32, INT32, FLOAT32)]
    key = random.choice(keys)
    type = struct.unpack("<I", gguf.pairs[key][:4])[0]
    content = random.choice(FLOATS) if type == FLOAT32 else random.choice(ABSURD) % 2**31
    gguf.pairs[key] = value(type, content)
    return gguf.whole()


def size(gguf: Gguf, random: Random) -> bytes:
    """One of the model's sizes is changed."""
    keys = [key for key in gguf.pairs if key.startswith(b"llama.") and gguf.pairs[key][:4] == struct.pack("<I", UINT32)]
    gguf.pairs[random.choice(keys)] = value(UINT32, random.choice(ABSURD) % 2**32)
    return gguf.whole()


def other_kind(gguf: Gguf, random: Random) -> bytes:
    """A value is replaced by one of another type."""
    kinds = (
        value(STRING, b"many"),
        value(BOOL, True),
        value(FLOAT32, 1.5),
        value(UINT64, 2**64 - 1),
        texts(b"a", b"b"),
    )
    gguf.pairs[random.choice(list(gguf.pairs))] = random.choice(kinds)
    return gguf.whole()


def missing_key(gguf: Gguf, random: Random) -> bytes:
    """A key is missing."""
    del gguf.pairs[random.choice(list(gguf.pairs))]
    return gguf.whole()


def double_key(gguf: Gguf, random: Random) -> bytes:
    """A key occurs twice."""
    return gguf.whole().replace(text(b"tokenizer.ggml.bos_token_id"), text(b"tokenizer.ggml.eos_token_id"))


def no_utf8(gguf: Gguf, random: Random) -> bytes:
    """A key or a text is not UTF-8."""
    bad = random.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x80abc"))
    texts = [key for key, value in gguf.pairs.items() if value[:4] == struct.pack("<I", STRING)]
    if random.random() < 0.25:
        gguf.pairs = {key + bad * (n == 3): content for n, (key, content) in enumerate(gguf.pairs.items())}
    else:
        key = random.choice([*texts, b"tokenizer.chat_template"])
        gguf.pairs[key] = value(STRING, gguf.pairs[key][12:] + bad)
    return gguf.whole()


def alignment(gguf: Gguf, random: Random) -> bytes:
    """An odd alignment."""
    kinds = [value(UINT32, n) for n in (0, 1, 3, 8, 64, 4096, 2**31)]
    gguf.pairs[b"general.alignment"] = random.choice([*kinds, value(STRING, b"32"), value(INT32, -32)])
    return gguf.whole()


def template(gguf: Gguf, random: Random) -> bytes:
    """A chat template that is empty, broken, huge or recursive."""
    odd = (
        b"",
        b"{% for",
        b"{{ x }" * 1000,
        b"a" * 2**20,
        b"{{" + b"(" * 5000 + b"}}",
        b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    )
    gguf.pairs[b"tokenizer.chat_template"] = value(STRING, random.choice(odd))
    return gguf.whole()


def sampling(gguf: Gguf, random: Random) -> bytes:
    """The recommended sampling parameters are nonsense."""
    for key in (b"temp", b"top_k", b"top_p", b"min_p", b"penalty_last_n", b"penalty_repeat"):
        number = random.choice(FLOATS)
        kinds = (value(FLOAT32, number), value(INT32, -(2**31)), value(STRING, b"hot"), value(BOOL, True), texts(b"1"))
        gguf.pairs[b"general.sampling." + key] = random.choice([*kinds, value(UINT64, 2**64 - 1)])
    return gguf.whole()


def vocabulary(gguf: Gguf, random: Random) -> bytes:
    """The tokens or the merges are replaced."""
    odd = (
        texts(),
        texts(b"a"),
        texts(*[b"same"] * 1024),
        texts(*[b""] * 1024),
        texts(*[b"\xff\xfe"] * 1024),
        texts(*[b"x" * 4000] * 1024),
    )
    key = random.choice((b"tokenizer.ggml.tokens", b"tokenizer.ggml.merges"))
    gguf.pairs[key] = random.choice(odd)
    return gguf.whole()


def token_types(gguf: Gguf, random: Random) -> bytes:
    """Odd types of tokens, or a wrong number of them."""
    types = [random.choice((-1, 0, 1, 3, 99, 2**31 - 1)) for _ in range(random.choice((0, 1, 1024, 5000)))]
    head = struct.pack("<IIQ", ARRAY, INT32, len(types))
    gguf.pairs[b"tokenizer.ggml.token_type"] = head + struct.pack(f"<{len(types)}i", *types)
    return gguf.whole()


def token_id(gguf: Gguf, random: Random) -> bytes:
    """A special token that is not in the vocabulary."""
    key = random.choice((b"bos_token_id", b"eos_token_id", b"unknown_token_id", b"padding_token_id", b"eot_token_id"))
    gguf.pairs[b"tokenizer.ggml." + key] = value(UINT32, random.choice((1024, 2**31, 2**32 - 1)))
    return gguf.whole()


def name_of_kind(gguf: Gguf, random: Random) -> bytes:
    """The name of another architecture or tokenizer."""
    key = random.choice((b"general.architecture", b"tokenizer.ggml.model", b"tokenizer.ggml.pre"))
    names = (b"", b"gpt2", b"qwen2", b"gemma3", b"bert", b"mamba", b"clip", b"llama", b"x" * 5000, b"..\x00/\n\x1b[31m")
    gguf.pairs[key] = value(STRING, random.choice(names))
    return gguf.whole()


def split(gguf: Gguf, random: Random) -> bytes:
    """The file says that it is one of several."""
    gguf.pairs[b"split.count"] = random.choice([value(UINT32, n) for n in (0, 2, 2**31)] + [value(STRING, b"2")])
    gguf.pairs[b"split.no"] = value(UINT32, random.choice((0, 1, 9)))
    return gguf.whole()


# Tensors


def shape(gguf: Gguf, random: Random) -> bytes:
    """A tensor of absurd shape."""
    tensor = random.choice(gguf.tensors)
    tensor.shape[random.randrange(len(tensor.shape))] = random.choice(ABSURD)
    return gguf.whole()


def dimensions(gguf: Gguf, random: Random) -> bytes:
    """A tensor with a wrong number of dimensions."""
    tensor = random.choice(gguf.tensors)
    tensor.shape = random.choice(([], tensor.shape * 2, [2] * 100, tensor.shape[::-1], [1, *tensor.shape]))
    return gguf.whole()


def tensor_type(gguf: Gguf, random: Random) -> bytes:
    """A tensor of another type."""
    random.choice(gguf.tensors).type = random.choice((*range(42), 99, 2**31, 2**32 - 1))
    return gguf.whole()


def offset(gguf: Gguf, random: Random) -> bytes:
    """A tensor whose weights begin elsewhere."""
    random.choice(gguf.tensors).offset = random.choice((1, 32, len(gguf.data), *ABSURD))
    return gguf.whole()


def tensor_name(gguf: Gguf, random: Random) -> bytes:
    """A tensor with an odd name."""
    tensor, other = random.sample(gguf.tensors, 2)
    tensor.name = random.choice((other.name, b"", b"blk.99999.attn_q.weight", b"\xff", b"n" * 200, b"blk.0.\n.weight"))
    return gguf.whole()


def missing_tensor(gguf: Gguf, random: Random) -> bytes:
    """A tensor is missing."""
    gguf.tensors.remove(random.choice(gguf.tensors))
    return gguf.whole()


def no_tensors(gguf: Gguf, random: Random) -> bytes:
    """All tensors are missing."""
    gguf.tensors, gguf.data = [], random.choice((b"", gguf.data))
    return gguf.whole()


def weights(gguf: Gguf, random: Random) -> bytes:
    """The weights are NaN, infinite, zero or random."""
    length = len(gguf.data)
    gguf.data = random.choice(
        (b"\xff" * length, bytes(length), random.randbytes(length), (b"\0\0\x80\x7f" * length)[:length])
    )
    return gguf.whole()


DAMAGES: dict[str, Damage] = {
    damage.__name__.replace("_", " "): damage
    for damage in (
        *(cut, cut_early, flipped, flipped_early, flipped_late, hole, missing_piece, other_content),
        *(version, counts, list_length, text_length, value_type, lists_in_lists),
        *(number, size, other_kind, missing_key, double_key, no_utf8, alignment, template, sampling),
        *(vocabulary, token_types, token_id, name_of_kind, split),
        *(shape, dimensions, tensor_type, offset, tensor_name, missing_tensor, no_tensors, weights),
    )
}
