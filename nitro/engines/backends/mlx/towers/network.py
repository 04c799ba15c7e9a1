"""A model that sees or hears, as what a runner computes: layers of mlx-vlm or ours, called in the way of mlx-lm's
models.

mlx-vlm's own calls are not used: they remember the positions of the request before, mask a non-causal image with what
is not there, and multiply rows of an image that they were lent. Here a pass is told its rows, positions and masks.
"""

import re
from typing import Any

import mlx.core as mx
from mlx_lm.models.base import create_attention_mask
from mlx_lm.models.cache import KVCache, RotatingKVCache

from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.towers.family import Family
from nitro.engines.backends.mlx.towers.parts import Stretch, positions, stretches
from nitro.engines.media_encoder import EncodedRuns

UNUSED = ("rotary_emb.inv_freq", "embeddings.position_ids")  # weights that follow from others


class Sensing:
    """Goes before a family's Model as a base class. `family`: what there is to know of it, see family.py."""

    family: Family

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]
        if config.text_config.tie_word_embeddings:
            self.language_model.pop("lm_head", None)  # type: ignore[attr-defined]
        self.family.mend(self)

    def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
        """transformers' names, old or new, and the Model's own → the Model's."""
        found = {self._own_name(key): value for key, value in weights.items() if not key.endswith(UNUSED)}
        return self.sense.sanitize(found)  # type: ignore[no-any-return]

    def layer_name(self, name: str) -> str:
        """A layer's name in the folder → here."""
        return self._own_name(f"{name}.").removesuffix(".")

    def text_name(self, name: str) -> str:
        """A weight's name in mlx-lm's model of the text alone → here."""
        return self._own_name(re.sub(r"^model\.", "model.language_model.", name))

    def _own_name(self, name: str) -> str:
        for pattern, new in self.family.names:
            name = re.sub(pattern, new, name)
        return name

    @property
    def sense(self) -> Any:
        """The tower."""
        return getattr(self, self.family.tower)

    @property
    def body(self) -> Any:
        """What has the embedding, the layers and the last norm."""
        return getattr(self.language_model, "model", self.language_model)  # type: ignore[attr-defined]

    def make_cache(self) -> Caches:
        """Empty caches, of mlx-lm's classes."""
        windows = [self.family.window(self.body, i) for i in range(len(self.body.layers))]
        return [KVCache() if window is None else RotatingKVCache(max_size=window) for window in windows]

    def __call__(self, tokens: mx.array, cache: Caches, shifts: mx.array | None = None) -> mx.array:
        """Text alone: [rows, length] → logits [rows, length, vocabulary]. `shifts`: by how much each row's positions
        differ from its places, int32 [rows]."""
        places = self._places(tokens, cache, shifts)
        return self._logits(self._hidden(self._embed(tokens), cache, places))

    def hidden_rows(self, tokens: mx.array, cache: Caches | None = None) -> mx.array:
        """Text alone: what the head reads, [rows, length, width]."""
        cache = cache or self.make_cache()
        return self._hidden(self._embed(tokens), cache, self._places(tokens, cache))

    def read(self, tokens: list[int], start: int, stop: int, cache: Caches, runs: EncodedRuns) -> mx.array:
        """tokens[start:stop] of one sequence with media; `cache` holds those before → logits [n, vocabulary]."""
        found = []
        for whole, group in _passes(list(stretches(tokens, start, stop, runs))):
            rows = mx.concatenate([self._rows(tokens, part) for part in group])[None]
            first, last = group[0].start, group[-1].stop
            places = mx.array(positions(tokens, first, last, runs))[:, None] if self.family.mrope else None
            found.append(self._logits(self._hidden(rows, cache, places, whole))[0])
        return mx.concatenate(found)

    def _places(self, tokens: mx.array, cache: Caches, shifts: mx.array | None = None) -> mx.array | None:
        """Positions of a text, int32 [3, rows, length]; None where the caches know them."""
        if not self.family.mrope:
            return None
        first = mx.array(cache[0].offset).reshape(-1, 1)  # one number, or one for each row
        if shifts is not None:
            first = first + shifts[:, None]
        flat = first + mx.arange(tokens.shape[1])[None]
        return mx.broadcast_to(flat[None], (3, *tokens.shape)).astype(mx.int32)

    def _rows(self, tokens: list[int], part: Stretch) -> mx.array:
        if part.run is None:
            return self._embed(mx.array(tokens[part.start : part.stop]))
        rows: Any = part.run.rows
        embeddings: mx.array = rows.embeddings[part.first : part.first + part.stop - part.start]
        return embeddings.astype(self._embed(mx.array([0])).dtype)

    def _embed(self, tokens: mx.array) -> mx.array:
        rows: mx.array = self.body.embed_tokens(tokens)
        scale = self.family.scale(self.body)
        return rows if scale is None else rows * mx.array(scale, mx.bfloat16).astype(rows.dtype)

    def _hidden(self, rows: mx.array, cache: Caches, places: mx.array | None, whole: bool = False) -> mx.array:
        """[rows, length, width] → the same behind the last norm. `whole`: each sees all of them."""
        if places is not None:
            hidden: mx.array = self.body(None, inputs_embeds=rows, cache=cache, position_ids=places)
            return hidden
        masks: dict[int | None, Any] = {}
        for i, (layer, layer_cache) in enumerate(zip(self.body.layers, cache, strict=True)):
            window = self.family.window(self.body, i)
            if window not in masks:
                masks[window] = _mask(rows, layer_cache, window, whole)
            rows = layer(rows, masks[window], layer_cache)
        normed: mx.array = self.body.norm(rows)
        return normed

    def _logits(self, hidden: mx.array) -> mx.array:
        language: Any = self.language_model  # type: ignore[attr-defined]
        head = language.lm_head if "lm_head" in language else self.body.embed_tokens.as_linear
        logits: mx.array = head(hidden)
        return logits


def _passes(parts: list[Stretch]) -> list[tuple[bool, list[Stretch]]]:
    """What is computed together: a run that is atomic by itself (True), all that is between two such."""
    found: list[tuple[bool, list[Stretch]]] = []
    for part in parts:
        whole = part.run is not None and part.run.atomic
        if found and not whole and not found[-1][0]:
            found[-1][1].append(part)
        else:
            found.append((whole, [part]))
    return found


def _mask(rows: mx.array, cache: Any, window: int | None, whole: bool) -> Any:
    """A layer's mask: causal, in the window it has; but that rows which are `whole` see each other."""
    mask = create_attention_mask(rows, cache, window_size=window, return_array=whole)
    if whole and rows.shape[1] > 1:
        mask[..., -rows.shape[1] :] = True
    return mask
