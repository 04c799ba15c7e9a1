"""An encoder: every token attends to all tokens of its sequence, before and behind it.

One network for BERT and its kin. They differ in how positions are told (learned vectors, rotations, a bias for each
distance), in where norms stand (behind each part, or before it), in the feed-forward part (gated or not), and in how
far attention sees. `EncoderShape` says which; families.py reads it from a checkpoint. The formulas are those of the
transformers library, whose results are recorded in tests/data/encoders.json.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
from mlx import nn

ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "gelu": nn.gelu,
    "gelu_new": nn.gelu_approx,
    "gelu_pytorch_tanh": nn.gelu_approx,
    "relu": nn.relu,
    "silu": nn.silu,
    "swish": nn.silu,
}
BUCKETS, FAR = 32, 128  # of distances between tokens, in MPNet; those of FAR tokens or more are one


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderShape:
    """What config.json says of an encoder. Lengths are tokens."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    eps: float  # of the norms
    activation: str  # a key of ACTIVATIONS
    positions: int = 0  # learned ones; 0: none
    first_position: int = 0  # of these, the one of a sequence's first token
    types: int = 0  # kinds of tokens: those of a first text, those of a second; 0: they are told by nothing
    rotation: float | None = None  # the base of rotary positions
    local_rotation: float | None = None  # that of layers with a window
    window: int = 0  # tokens that these see in each direction
    local: frozenset[int] = frozenset()  # the numbers of the layers with a window
    by_distance: bool = False  # attention has a bias for each distance
    norms_first: bool = False  # a part's norm is before it, and a last one behind all
    gated: bool = False
    biases: frozenset[str] = frozenset({"attention", "feed_forward", "norms"})  # which of these have biases


class Encoder(nn.Module):  # type: ignore[misc]
    """Tokens → the last layer's vectors."""

    def __init__(self, shape: EncoderShape):
        super().__init__()
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        if shape.positions:
            self.positions = nn.Embedding(shape.positions, shape.width)
        if shape.types:
            self.types = nn.Embedding(shape.types, shape.width)
        if shape.by_distance:
            self.distances = nn.Embedding(BUCKETS, shape.heads)
        self.norm = _norm(shape)
        self.layers = [Layer(shape, number) for number in range(shape.layers)]
        if shape.norms_first:
            self.last_norm = _norm(shape)
        self._shape = shape

    @property
    def shape(self) -> EncoderShape:
        """What it was made of."""
        return self._shape

    def __call__(self, tokens: mx.array, lengths: mx.array, types: mx.array | None = None) -> mx.array:
        """Rows of tokens [rows, length], padded behind their `lengths` [rows] → [rows, length, width].

        `types`: [rows, length], 0 for tokens of a first text, 1 for those of a second; None: all are 0. What comes out
        for padding means nothing.
        """
        shape = self._shape
        places = mx.arange(tokens.shape[1])
        hidden: mx.array = self.words(tokens)
        if "types" in self:
            hidden = hidden + (self.types(mx.array([0])) if types is None else self.types(types))
        if "positions" in self:
            hidden = hidden + self.positions(places + shape.first_position)
        hidden = self.norm(hidden)
        masks = self._masks(places, lengths, hidden.dtype)
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden, masks[number in shape.local])
        return self.last_norm(hidden) if shape.norms_first else hidden

    def _masks(self, places: mx.array, lengths: mx.array, dtype: mx.Dtype) -> dict[bool, mx.array]:
        """What is added to the products of queries and keys: of layers that see all (False), of those with a window."""
        shape = self._shape
        apart = places[None, :] - places[:, None]  # of key from query
        is_token = (places[None, :] < lengths[:, None])[:, None, None, :]
        # with a window, padding would see nothing at all, which is no number; so each sees itself
        near = (is_token | (apart == 0)) & (mx.abs(apart) <= shape.window)
        masks = {False: _penalty(is_token, dtype), True: _penalty(near, dtype)}
        if shape.by_distance:
            masks[False] = masks[False] + self.distances(_bucket(apart)).transpose(2, 0, 1)
        return masks


class Layer(nn.Module):  # type: ignore[misc]
    """Attention, and the feed-forward part."""

    def __init__(self, shape: EncoderShape, number: int):
        super().__init__()
        self.attention = Attention(shape, number in shape.local)
        self.feed_forward = FeedForward(shape)
        self.attention_norm = nn.Identity() if shape.norms_first and number == 0 else _norm(shape)
        self.feed_forward_norm = _norm(shape)
        self._norms_first = shape.norms_first

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        """[rows, length, width] → the same."""
        if self._norms_first:
            hidden = hidden + self.attention(self.attention_norm(hidden), mask)
            hidden = hidden + self.feed_forward(self.feed_forward_norm(hidden))
        else:
            hidden = self.attention_norm(hidden + self.attention(hidden, mask))
            hidden = self.feed_forward_norm(hidden + self.feed_forward(hidden))
        return hidden


class Attention(nn.Module):  # type: ignore[misc]
    """Every token's queries meet the keys of all that the mask shows."""

    def __init__(self, shape: EncoderShape, local: bool):
        super().__init__()
        bias = "attention" in shape.biases
        self.query, self.key, self.value, self.output = (
            nn.Linear(shape.width, shape.width, bias=bias) for _ in range(4)
        )
        self._heads = shape.heads
        self._size = shape.width // shape.heads
        self._rotation = shape.local_rotation if local else shape.rotation

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        """[rows, length, width] → the same. `mask`: [rows or 1, heads or 1, length or 1, length]."""
        rows, length, width = hidden.shape
        queries, keys, values = (
            part(hidden).reshape(rows, length, self._heads, self._size).transpose(0, 2, 1, 3)
            for part in (self.query, self.key, self.value)
        )
        if self._rotation is not None:
            queries, keys = (
                mx.fast.rope(part, self._size, traditional=False, base=self._rotation, scale=1.0, offset=0)
                for part in (queries, keys)
            )
        seen = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=self._size**-0.5, mask=mask)
        result: mx.array = self.output(seen.transpose(0, 2, 1, 3).reshape(rows, length, width))
        return result


class FeedForward(nn.Module):  # type: ignore[misc]
    """Each token by itself: down(act(up(x))) or, gated, down(act(gate(x)) · up(x))."""

    def __init__(self, shape: EncoderShape):
        super().__init__()
        bias = "feed_forward" in shape.biases
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=bias)
        if shape.gated:
            self.gate = nn.Linear(shape.width, shape.feed_forward, bias=bias)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=bias)
        self._activation = ACTIVATIONS[shape.activation]

    def __call__(self, x: mx.array) -> mx.array:
        """[..., width] → the same."""
        inner = self._activation(self.gate(x)) * self.up(x) if "gate" in self else self._activation(self.up(x))
        result: mx.array = self.down(inner)
        return result


def _norm(shape: EncoderShape) -> nn.LayerNorm:
    return nn.LayerNorm(shape.width, eps=shape.eps, bias="norms" in shape.biases)


def _penalty(visible: mx.array, dtype: mx.Dtype) -> mx.array:
    return mx.where(visible, mx.array(0, dtype), mx.array(-mx.inf, dtype))


def _bucket(apart: mx.array) -> mx.array:
    """The number of each distance's bucket, as T5 counts them: half of them for keys behind the query; of these, half
    for one distance each, the others for ranges that grow by a factor."""
    half = BUCKETS // 2
    single = half // 2
    distance = mx.abs(apart)
    growth = mx.log(mx.maximum(distance, 1) / single) / mx.log(mx.array(FAR / single))
    far = mx.minimum(single + (growth * (half - single)).astype(mx.int32), half - 1)
    return mx.where(apart > 0, half, 0) + mx.where(distance < single, distance, far)
