"""The header of a GGUF file: its metadata, and the names, types and shapes of its tensors. No weights are read.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The constants come from the `gguf` package.
"""

import struct
from dataclasses import dataclass, field, replace
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from nitro.gguf import split_files
from nitro.gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType, GGUFValueType

VERSIONS = (2, 3)
MAX_DIMENSIONS = 4  # of a tensor, as in ggml
MAX_LIST_LENGTH = 2**24  # the largest vocabularies have 2**18
SHORT_LIST = 2**10  # values; one for each layer, say
BEGINNING = 2**22  # bytes that are read first where a file is not mapped; the largest headers have 2**24
MAX_HEADER = 2**26  # bytes, of those
LENGTH = struct.Struct("<Q")
QUANTIZATIONS = {int(type): type for type in GGMLQuantizationType}

TEMPLATE = "tokenizer.chat_template"  # the key of the chat template; those with names have ".NAME" behind it

# the types of numbers, in the notation of `struct`
NUMBERS: dict[int, str] = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.FLOAT64: "d",
    GGUFValueType.BOOL: "?",
}


class UnreadableGGUF(Exception):
    """The file is not a GGUF, is damaged, or is not supported here. The message is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor, as the header describes it."""

    type: str  # as in ggml: "F32", "Q4_1", …
    shape: tuple[int, ...]  # rows first, as in NumPy and MLX; GGUF stores it in reverse order
    file: Path = field(default=Path(), compare=False)  # in a split model one of several
    offset: int = field(default=0, compare=False)  # of its data in the file, in bytes
    size: int = field(default=0, compare=False)  # bytes


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a model, of one file or of several."""

    path: Path
    metadata: dict[str, Any]  # strings, numbers, booleans, and lists of them
    tensors: dict[str, Tensor]  # by name

    @property
    def architecture(self) -> str:
        """general.architecture; empty where it is missing."""
        return str(self.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the metadata. "{arch}" in `key` stands for the architecture."""
        if "{arch}" in key:
            key = key.replace("{arch}", self.architecture)
        return self.metadata.get(key, default)

    def need(self, key: str) -> Any:
        """As `get`, but raises UnreadableGGUF where the key is missing."""
        value = self.get(key)
        if value is None:
            raise UnreadableGGUF(f"{self.path} has no {key.replace('{arch}', self.architecture)} in its metadata.")
        return value


def read(path: Path, full: bool = True, mapped: bool = True) -> Header:
    """Read the header of one file. Raises UnreadableGGUF, OSError.

    `full` = False is for files that a library reads again: lists stay empty but for short ones of numbers, which a
    vocabulary's are not; text need not be UTF-8, and the types of tensors need not be known here.
    `mapped` = False is for files that another program may be writing: if a mapped one is cut, this process ends.
    """
    try:
        if not mapped:
            return _read_beginning(path, full)
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return _HeaderReader(path, data, full, len(data)).header()
    except (struct.error, RecursionError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        why = WHY.get(type(error), error)
        raise UnreadableGGUF(f"{path} is not a GGUF file, or is damaged ({why}).") from None


WHY = {struct.error: "it ends within its header", RecursionError: "its lists are nested too deeply"}


def _read_beginning(path: Path, full: bool) -> Header:
    """Raises as `read` does."""
    length = BEGINNING
    with path.open("rb") as file:
        size = file.seek(0, 2)
        while True:
            file.seek(0)
            data = file.read(length)
            try:
                return _HeaderReader(path, data, full, size).header()
            except struct.error:
                if length >= min(size, MAX_HEADER):
                    raise
            length *= 8


def read_all(path: Path, full: bool = True, mapped: bool = True) -> Header:
    """As `read`, but with the tensors of all files where the model is split. `path` is the first of them."""
    head = read(path, full, mapped)
    count = head.get("split.count", 1)
    if not isinstance(count, int):
        raise UnreadableGGUF(f"{path} is damaged: its split.count is {count!r}.")
    if count <= 1:
        return head
    part = split_files.parse(path.name)
    if part is None or (part.number, part.count) != (1, count):
        raise UnreadableGGUF(f"{path} is one of {count} files; use the first, which ends in -00001-of-{count:05}.gguf.")
    tensors = dict(head.tensors)
    for file in split_files.files(path)[1:]:
        if not file.is_file():
            raise UnreadableGGUF(f"{file} is missing; the model is split into {count} files.")
        tensors |= read(file, full, mapped).tensors
    if len(tensors) != head.get("split.tensors.count", len(tensors)):
        raise UnreadableGGUF(f"{path} and the other {count - 1} files do not contain all tensors of the model.")
    return Header(path, head.metadata, tensors)


class _HeaderReader:
    """Reads a header from its beginning on. The reader of the `gguf` package takes seconds for a large vocabulary, and
    does not end where a damaged file announces more than it contains."""

    def __init__(self, path: Path, data: mmap | bytes, full: bool, size: int):
        """`data`: the file, or its beginning. `size`: bytes of the whole file."""
        self._path = path
        self._data = data
        self._size = size
        self._at = 0
        self._full = full
        self._errors = "strict" if full else "surrogateescape"

    def header(self) -> Header:
        magic, version, tensor_count, key_count = self._numbers("4sIQQ")
        if magic != b"GGUF" or version not in VERSIONS:
            raise ValueError("it does not begin as version 2 or 3 does")
        metadata = dict(self._pair() for _ in range(key_count))
        if len(metadata) < key_count:
            raise ValueError("a key of its metadata occurs twice")
        listed = dict(self._tensor() for _ in range(tensor_count))
        if len(listed) < tensor_count:
            raise ValueError("a tensor occurs twice")
        alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {alignment!r}, which is no power of 2")
        start = self._at + -self._at % alignment
        tensors = {name: replace(tensor, offset=start + tensor.offset) for name, tensor in listed.items()}
        if any(tensor.offset + tensor.size > self._size for tensor in tensors.values()):
            raise ValueError("it ends before its weights do")
        return Header(self._path, metadata, tensors)

    def _pair(self) -> tuple[str, Any]:
        return self._string(), self._value(self._number("I"))

    def _tensor(self) -> tuple[str, Tensor]:
        """The offset is still counted from the data of the first tensor."""
        name = self._string()
        dimensions = self._number("I")
        if not 0 < dimensions <= MAX_DIMENSIONS:
            raise ValueError(f"tensor {name} has {dimensions} dimensions")
        shape = self._numbers(f"{dimensions}Q")
        type, offset = self._numbers("IQ")
        if type not in QUANTIZATIONS:
            if self._full:
                raise ValueError(f"tensor {name} is of the unknown type {type}")
            return name, Tensor(str(type), tuple(reversed(shape)), self._path, offset)
        block, size = GGML_QUANT_SIZES[QUANTIZATIONS[type]]
        if shape[0] % block:
            raise ValueError(f"tensor {name} has rows of {shape[0]}, which is no multiple of {block}")
        bytes = prod(shape) // block * size
        return name, Tensor(QUANTIZATIONS[type].name, tuple(reversed(shape)), self._path, offset, bytes)

    def _value(self, type: int) -> Any:
        if type == GGUFValueType.STRING:
            return self._string()
        if type != GGUFValueType.ARRAY:
            if type not in NUMBERS:
                raise ValueError(f"it has a value of the unknown type {type}")
            return self._number(NUMBERS[type])
        return self._list(*self._numbers("IQ"))

    def _list(self, element: int, count: int) -> list[Any]:
        if count > MAX_LIST_LENGTH:
            raise ValueError(f"it has a list of {count} values")
        if element == GGUFValueType.STRING:
            return self._strings(count)
        if element not in NUMBERS:
            return [self._value(element) for _ in range(count)]
        if self._full or count <= SHORT_LIST:
            return list(self._numbers(f"{count}{NUMBERS[element]}"))
        self._at += count * struct.calcsize(f"<{NUMBERS[element]}")
        if self._at > len(self._data):
            raise struct.error
        return []

    def _string(self) -> str:
        (length,) = LENGTH.unpack_from(self._data, self._at)
        self._at += LENGTH.size + length
        if self._at > len(self._data):
            raise struct.error
        return str(self._data[self._at - length : self._at], "utf-8", self._errors)

    def _strings(self, count: int) -> list[str]:
        """As `_string`, but fast, for hundreds of thousands."""
        data = self._data
        at = self._at
        end = len(data)
        read = LENGTH.unpack_from
        found = []
        for _ in range(count):
            (length,) = read(data, at)
            start = at + 8
            at = start + length
            if at > end:
                raise struct.error
            if self._full:
                found.append(str(data[start:at], "utf-8"))
        self._at = at
        return found

    def _number(self, format: str) -> Any:
        return self._numbers(format)[0]

    def _numbers(self, format: str) -> tuple[Any, ...]:
        """Numbers in the notation of `struct`. Raises struct.error where the file ends before them."""
        numbers = struct.unpack_from(f"<{format}", self._data, self._at)
        self._at += struct.calcsize(f"<{format}")
        return numbers


# general.sampling.* (gguf.Keys): the recommended sampling parameters, by their names in requests
SAMPLING_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_last_n": "general.sampling.penalty_last_n",
    "repetition_penalty": "general.sampling.penalty_repeat",
}
