"""A short key of a prompt, such that prompts that begin alike have keys that begin alike. Pure.

Lines in the order of their keys come next to those that they share a beginning with: the prefix cache computes it once.
A prompt of n bytes has a part of the key for each power of two below n, which tells apart what comes before it.
"""

from hashlib import blake2b

FIRST, LAST = 6, 17  # exponents: what is alike for less than 64 bytes, or more than 128 KiB, is not told
WIDTH = 3  # bytes of each part


def of(prompt: bytes) -> bytes:
    """The key, of at most 36 bytes."""
    digest = blake2b(digest_size=WIDTH)
    key = b""
    begin = 0
    for exponent in range(FIRST, LAST + 1):
        end = 1 << exponent
        if end > len(prompt):
            break
        digest.update(memoryview(prompt)[begin:end])
        key += digest.copy().digest()
        begin = end
    return key
