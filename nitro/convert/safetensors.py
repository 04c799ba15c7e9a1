"""Writes *.safetensors files piece by piece: first a header that lists the tensors, then their bytes in that order.

The format: https://huggingface.co/docs/safetensors. Files and index are named as on the Hugging Face Hub.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nitro.gguf.tensors import ArraySpec, bytes_of

MAX_SHARD = 5 << 30  # bytes of a file
METADATA = {"format": "mlx"}  # mlx-lm writes it, and transformers asks for it


def shards(tensors: Iterable[list[ArraySpec]], limit: int = MAX_SHARD) -> list[list[list[ArraySpec]]]:
    """Group tensors into files of at most `limit` bytes, if possible. Parts of one tensor stay together."""
    groups: list[list[list[ArraySpec]]] = [[]]
    size = 0
    for tensor in tensors:
        tensor_size = sum(map(bytes_of, tensor))
        if groups[-1] and size + tensor_size > limit:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor_size
    return groups


def write(
    folder: Path, groups: list[list[list[ArraySpec]]], data: Iterator[np.ndarray], metadata: dict[str, str]
) -> None:
    """Write all files and their index. `groups`: of each file its tensors, each with its parts.

    `data`: the arrays of all parts one after another, each whole or in pieces. Raises OSError.
    """
    file_of: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        parts = [part for tensor in group for part in tensor]
        name = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        file_of |= {part.name: name for part in parts}
        with (folder / name).open("wb") as file:
            _write_one(file, parts, data, metadata)
    assert next(data, None) is None, "more arrays than parts"  # this also runs the iterator to its end
    total = sum(bytes_of(part) for group in groups for tensor in group for part in tensor)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(file_of.items()))}
    write_json(folder / "model.safetensors.index.json", index)


def write_json(file: Path, content: object) -> None:
    """Write indented UTF-8. Raises OSError."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_one(file: BinaryIO, parts: list[ArraySpec], data: Iterator[np.ndarray], metadata: dict[str, str]) -> None:
    entries: dict[str, object] = {"__metadata__": metadata}
    at = 0
    for part in parts:
        entries[part.name] = {
            "dtype": part.type,
            "shape": list(part.shape),
            "data_offsets": [at, at + bytes_of(part)],
        }
        at += bytes_of(part)
    head = json.dumps(entries, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    file.write(len(head).to_bytes(8, "little") + head)
    for part in parts:
        left = bytes_of(part)
        while left:
            piece = np.ascontiguousarray(next(data))
            file.write(piece.reshape(-1).view(np.uint8).data)
            left -= piece.nbytes
        assert left == 0, f"{part.name} has more bytes than its shape says"
