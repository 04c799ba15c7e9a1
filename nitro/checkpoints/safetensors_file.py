"""A *.safetensors file: its header, and files of a few tensors whole. The format:
https://huggingface.co/docs/safetensors. Those of models are written piece by piece, by convert/safetensors.py."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_HEADER = 100_000_000  # bytes; the safetensors library's own limit
FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}  # NumPy has no bfloat16

WRITTEN = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor, as the header describes it."""

    type: str  # "F32", "BF16", …
    shape: tuple[int, ...]
    offset: int  # of its data in the file, in bytes
    size: int  # bytes


def read(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors by name, and the metadata. Raises ValueError with a sentence that names the file, also where its
    length is wrong; OSError."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(MAX_HEADER, size - 8):
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        metadata = header.pop("__metadata__", None) or {}
        found = {name: _entry(entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise ValueError(f"{file} is not a safetensors file, or is damaged ({error}).") from None
    end = max((entry.offset + entry.size for entry in found.values()), default=8 + length)
    if end != size:
        raise ValueError(f"{file} has {size} bytes and should have {end}; download it again.")
    return found, metadata


def _entry(entry: dict[str, Any], start: int) -> Entry:
    first, last = entry["data_offsets"]
    return Entry(str(entry["dtype"]), tuple(entry["shape"]), start + first, last - first)


def numbers(file: Path, entry: Entry) -> np.ndarray:
    """A tensor of floats, whole, as float32. Raises ValueError for another type, or where its bytes are not as many as
    its shape says; OSError."""
    kind = FLOATS.get(entry.type)
    if kind is None:
        raise ValueError(f"it is {entry.type}; supported are {', '.join(FLOATS)}")
    with file.open("rb") as stream:
        stream.seek(entry.offset)
        values = np.frombuffer(stream.read(entry.size), np.dtype(kind).newbyteorder("<"))
    if entry.type == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32).reshape(entry.shape)


def write(file: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays of float32 or float16. Raises OSError."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, array in arrays.items():
        size = array.nbytes
        entries[name] = {"dtype": WRITTEN[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(entries, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(head)) + head)
        for array in arrays.values():
            little = array.dtype.newbyteorder("<")
            stream.write(np.ascontiguousarray(array, little).reshape(-1).view(np.uint8).data)
