"""A GGUF file as its parts, to be changed and put together again."""

import struct
from dataclasses import dataclass

ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 5, 6, 7, 8, 9, 10
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    UINT32: "I",
    INT32: "i",
    FLOAT32: "f",
    BOOL: "?",
    UINT64: "Q",
    11: "q",
    12: "d",
}


@dataclass
class Tensor:
    """A tensor, as the header describes it."""

    name: bytes
    shape: list[int]
    type: int
    offset: int


@dataclass
class Gguf:
    """The parts of a GGUF file. A value in `pairs` begins with its type."""

    pairs: dict[bytes, bytes]
    tensors: list[Tensor]
    data: bytes
    version: int = 3
    magic: bytes = b"GGUF"
    counts: tuple[int, int] | None = None  # of tensors and pairs, where the header is to state wrong ones

    def header(self) -> bytes:
        """The bytes up to the weights."""
        counts = self.counts or (len(self.tensors), len(self.pairs))
        head = self.magic + struct.pack("<IQQ", self.version, *counts)
        head += b"".join(text(key) + value for key, value in self.pairs.items())
        for tensor in self.tensors:
            shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
            head += text(tensor.name) + shape + struct.pack("<IQ", tensor.type, tensor.offset)
        return head

    def whole(self) -> bytes:
        """The bytes of the file."""
        head = self.header()
        return head + bytes(-len(head) % ALIGNMENT) + self.data


def text(content: bytes) -> bytes:
    """A string, as GGUF stores it."""
    return struct.pack("<Q", len(content)) + content


def value(type: int, content: object) -> bytes:
    """A value with its type before it."""
    if type == STRING:
        return struct.pack("<I", type) + text(content)
    return struct.pack(f"<I{NUMBERS[type]}", type, content)


def texts(*contents: bytes) -> bytes:
    """A list of strings with its type before it."""
    return struct.pack("<IIQ", ARRAY, STRING, len(contents)) + b"".join(map(text, contents))


def take_apart(whole: bytes) -> Gguf:
    """The parts of an intact file."""
    at = 4

    def take(format: str) -> tuple:
        nonlocal at
        found = struct.unpack_from(f"<{format}", whole, at)
        at += struct.calcsize(f"<{format}")
        return found

    def take_text() -> bytes:
        return take(f"{take('Q')[0]}s")[0]

    def pass_value(type: int) -> None:
        if type == STRING:
            take_text()
        elif type == ARRAY:
            element, count = take("IQ")
            for _ in range(count):
                pass_value(element)
        else:
            take(NUMBERS[type])

    version, tensor_count, pair_count = take("IQQ")
    pairs: dict[bytes, bytes] = {}
    for _ in range(pair_count):
        key, start = take_text(), at
        pass_value(take("I")[0])
        pairs[key] = whole[start:at]
    tensors = []
    for _ in range(tensor_count):
        name = take_text()
        shape = list(take(f"{take('I')[0]}Q"))
        tensors.append(Tensor(name, shape, *take("IQ")))
    return Gguf(pairs, tensors, whole[at + -at % ALIGNMENT :], version)
