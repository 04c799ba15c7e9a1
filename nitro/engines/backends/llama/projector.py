"""libmtmd, llama.cpp's library for images and sound, as a MediaEncoder. Only this file touches it.

A projector is a GGUF beside the model. libmtmd gets pixels and sounds, never a path, and no bytes of which it would
have to find out what they are: those of an unknown kind it hands to ffprobe.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import ctypes
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import llama_cpp.mtmd_cpp as mtmd
import numpy as np

from nitro.engines import pictures, sounds
from nitro.engines.backends.llama import library
from nitro.engines.backends.llama.context import STEP_TOKENS
from nitro.engines.backends.llama.media_batch import LlamaRows
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.hardware import memory
from nitro.engines.media import Media
from nitro.engines.media_encoder import MediaRejected, MediaRun
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec, MediaInfo
from nitro.gguf import header

log = logging.getLogger("llama.cpp")

TEXT, IMAGE, AUDIO = mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT, mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE, mtmd.MTMD_INPUT_CHUNK_TYPE_AUDIO
SECTIONS = 4  # of a position of M-RoPE: time, height, width, and one more
# Sizes that are tried to find how many rows an image may take: pixels.
TRIED_SIZES = ((4096, 4096), (4096, 1024), (1024, 4096), (448, 448), (16384, 256), (256, 16384))
MAX_ASPECT = 200  # times as long as wide; preprocessing divides by the shorter side
# Projectors of sounds on which llama.cpp ends the process, by clip.projector_type: it counts other rows than it has.
ABORTS = ("voxtral",)
NO_PROJECTOR = "{path} is no projector (mmproj) for {model}"


class Projector:
    """What lets a model see or hear. Belongs to its model, and is closed before it."""

    def __init__(self, path: Path, model: LlamaModel, spec: EngineSpec):
        """Raises LoadError for a file that is no projector, or none for this model."""
        self.path = path
        self._model = model
        kind = _checked(path).get("clip.projector_type")
        said = len(model.log.text)
        model.log.begin_attempt()
        library.capture_media_log(mtmd)
        parameters = mtmd.mtmd_context_params_default()
        parameters.use_gpu = model.on_own_gpu
        parameters.n_threads = spec.threads or memory.physical_cores()
        parameters.print_timings = False
        parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO
        if spec.image_max_tokens is not None:
            parameters.image_max_tokens = spec.image_max_tokens
        self._pointer = mtmd.mtmd_init_from_file(str(path).encode(), model.pointer, parameters)
        if not self._pointer:
            reason = model.log.first_error or model.log.text[said:].strip().rpartition("\n")[2]
            raise LoadError(f"{NO_PROJECTOR.format(path=path, model=model.path.name)}: {reason}")
        self._width: int = lib.llama_model_n_embd_inp(model.pointer)
        self._has_sections = bool(mtmd.mtmd_decode_use_mrope(self._pointer))
        self.sees = bool(mtmd.mtmd_support_vision(self._pointer))
        self.hears = bool(mtmd.mtmd_support_audio(self._pointer)) and kind not in ABORTS
        self._why_not = f"llama.cpp cannot compute sounds of the kind '{kind}'." if kind in ABORTS else ""
        self.longest: int | None = None  # rows of the largest run of an image
        self.longest = self._longest() if self.sees else None
        try:
            self._check_rows(spec)
        except LoadError:
            self.close()
            raise

    @property
    def info(self) -> MediaInfo:
        """What it takes."""
        return MediaInfo(self.sees, self.hears, self.longest, self._why_not)

    @property
    def sections(self) -> int:
        """Numbers of a position."""
        return SECTIONS if self._has_sections else 1

    @property
    def whole_rows(self) -> int:
        """Rows that must be computed in one piece, because they all see each other; 0: any may be apart."""
        return self.longest or 0 if self.looks_back_and_ahead else 0

    @property
    def looks_back_and_ahead(self) -> bool:
        """Whether the rows of an image all see each other: they are computed at once then."""
        return self.sees and bool(mtmd.mtmd_decode_use_non_causal(self._pointer, None))

    def close(self) -> None:
        """Free it."""
        if self._pointer:
            mtmd.mtmd_free(self._pointer)
        self._pointer = None

    # The contract

    def pieces(self, media: Media) -> list[list[int] | MediaRun]:
        """See MediaEncoder."""
        bitmap = self._picture(media.data) if media.kind == "image" else self._sound(media)
        try:
            chunks = self._tokenize(bitmap)
        finally:
            mtmd.mtmd_bitmap_free(bitmap)
        return list(self._read(chunks))

    def encode(self, run: MediaRun) -> LlamaRows:
        """See MediaEncoder."""
        chunk = run.source.pointer
        if mtmd.mtmd_encode_chunk(self._pointer, chunk) != 0:
            raise MediaRejected(f"llama.cpp cannot encode it: {self._model.log.last_error}")
        rows = mtmd.mtmd_get_output_embd(self._pointer)
        values = np.ctypeslib.as_array(rows, (run.tokens, self._width)).copy()
        if not np.isfinite(values).all():
            raise MediaRejected("what the projector computes of it is no number.")
        is_causal = not mtmd.mtmd_decode_use_non_causal(self._pointer, chunk)
        if not self._has_sections or mtmd.mtmd_input_chunk_get_type(chunk) != IMAGE:
            return LlamaRows(values, causal=is_causal)
        image = mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        at_zero, at_one = (_places(image, run.tokens, position) for position in (0, 1))
        return LlamaRows(values, at_zero, (at_one - at_zero)[:, 0].copy(), is_causal)

    def _check_rows(self, spec: EngineSpec) -> None:
        """Raises LoadError where an image cannot be computed as this model wants it."""
        if self.whole_rows and spec.deterministic:
            raise LoadError("--deterministic computes few rows at a time, and this model's images are computed whole.")
        if self.whole_rows > STEP_TOKENS:
            raise LoadError(
                f"Images take up to {self.whole_rows} tokens, and this model wants all of them computed at once, of "
                f"which {STEP_TOKENS} are the most. Add --image-max-tokens {STEP_TOKENS}."
            )

    # What libmtmd is given

    def _picture(self, data: bytes) -> Any:
        image = pictures.read(data)
        width, height = image.size
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise MediaRejected(f"it has {width} × {height} pixels, and may be {MAX_ASPECT} times as long as wide.")
        return mtmd.mtmd_bitmap_init(width, height, _bytes(image.tobytes()))

    def _sound(self, media: Media) -> Any:
        data = media.data
        if not sounds.is_sound(data):
            raise MediaRejected("it is no WAV, MP3 or FLAC.")
        found = mtmd.mtmd_helper_bitmap_init_from_buf(self._pointer, _bytes(data), len(data), False)
        if not found:
            raise MediaRejected("it is no sound that can be read.")
        seconds = mtmd.mtmd_bitmap_get_nx(found) / mtmd.mtmd_get_audio_sample_rate(self._pointer)
        if problem := media.check_decoded(seconds):
            mtmd.mtmd_bitmap_free(found)
            raise MediaRejected(problem)
        return found

    def _tokenize(self, bitmap: Any) -> "_Chunks":
        """One medium without any text. Raises MediaRejected."""
        chunks = _Chunks()
        part = mtmd.mtmd_input_part(bitmap=bitmap)
        parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
        if mtmd.mtmd_tokenize_from_parts(self._pointer, chunks.pointer, parts, 1, False) != 0:
            raise MediaRejected(f"llama.cpp cannot take it: {self._model.log.last_error}")
        return chunks

    def _read(self, chunks: "_Chunks") -> Iterator[list[int] | MediaRun]:
        for chunk in chunks:
            kind = mtmd.mtmd_input_chunk_get_type(chunk.pointer)
            if kind == TEXT:
                count = ctypes.c_size_t()
                tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk.pointer, ctypes.byref(count))
                yield tokens[: count.value]
                continue
            is_whole = kind == IMAGE and (
                self._has_sections or bool(mtmd.mtmd_decode_use_non_causal(self._pointer, chunk.pointer))
            )
            tokens = mtmd.mtmd_input_chunk_get_n_tokens(chunk.pointer)
            if self.longest is not None and self.looks_back_and_ahead and kind == IMAGE and tokens > self.longest:
                raise MediaRejected(f"it takes {tokens} tokens, and {self.longest} are the most.")
            yield MediaRun(
                tokens=tokens,
                positions=mtmd.mtmd_input_chunk_get_n_pos(chunk.pointer),
                atomic=is_whole,
                source=chunk,
            )

    def _longest(self) -> int:
        """Rows of the largest run of those images that are tried. No pixel is there or needed (mtmd.h: "empty")."""
        rows = [1]
        for width, height in TRIED_SIZES:
            bitmap = mtmd.mtmd_bitmap_init(width, height, None)
            try:
                rows += [piece.tokens for piece in self._read(self._tokenize(bitmap)) if isinstance(piece, MediaRun)]
            except MediaRejected as error:
                log.debug("an image of %d × %d pixels: %s", width, height, error)
            finally:
                mtmd.mtmd_bitmap_free(bitmap)
        return max(rows)


class _Chunk:
    """A chunk, which lives as long as the list that it is in."""

    def __init__(self, chunks: "_Chunks", pointer: Any):
        self._chunks, self.pointer = chunks, pointer


class _Chunks:
    """An mtmd_input_chunks, which is freed when nobody has it or any of its chunks."""

    def __init__(self) -> None:
        self.pointer = mtmd.mtmd_input_chunks_init()
        weakref.finalize(self, mtmd.mtmd_input_chunks_free, self.pointer)

    def __iter__(self) -> Iterator[_Chunk]:
        for place in range(mtmd.mtmd_input_chunks_size(self.pointer)):
            yield _Chunk(self, mtmd.mtmd_input_chunks_get(self.pointer, place))


def _places(image: Any, rows: int, position: int) -> Any:
    """Where the rows of an image stand whose first is at `position`: int32 [4, rows], in the order of the sections
    (mtmd-helper-common.h:101)."""
    found = (mtmd.mtmd_image_tokens_get_decoder_pos(image, position, row) for row in range(rows))
    return np.array([(place.t, place.y, place.x, place.z) for place in found], np.int32).T.copy()


def _bytes(data: bytes) -> Any:
    """As a pointer to them, without a copy."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_uint8))


def _checked(path: Path) -> header.Header:
    """Its header. Raises LoadError for a file that says that it is something else: libmtmd's message is of a missing
    key then."""
    try:
        head = header.read_all(path, full=False)
    except header.UnreadableGGUF as error:
        raise LoadError(str(error)) from None
    except OSError as error:
        raise LoadError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    if head.architecture != "clip":
        raise LoadError(f"{path} is no projector (mmproj): its architecture is {head.architecture or 'not said'}.")
    return head
