"""A tokenizer that can be told to take too much: for tests of what ends it. A text that begins with one of these words
does it in the process apart alone; the process of the engine never sees it."""

import os
import signal
from collections.abc import Callable

from nitro.engines.backends.fake import FakeRunner, FakeTokenizer
from nitro.engines.runner import TokenizerRecipe
from nitro.engines.types import EngineSpec

BURN, HOARD, DIE, WAIT = "burn", "hoard", "die", "wait"


class SlowTokenizer(FakeTokenizer):
    """One token per byte, after what the text says."""

    @property
    def recipe(self) -> Callable[[], TokenizerRecipe]:
        return lambda: TokenizerRecipe("slow_tokenizers:open_tokenizer", b"")


class _Slow(SlowTokenizer):
    def encode(self, text: str) -> list[int]:
        if text.startswith(BURN):
            while True:
                pass
        if text.startswith(HOARD):
            hoard = []
            while True:
                hoard.append(bytearray(2**24))
        if text.startswith(DIE):
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith(WAIT):
            signal.pause()
        return super().encode(text)


def open_tokenizer(_: bytes) -> SlowTokenizer:
    return _Slow()


class SlowRunner(FakeRunner):
    def __init__(self, spec: EngineSpec):
        super().__init__(spec)
        self.tokenizer = SlowTokenizer()
