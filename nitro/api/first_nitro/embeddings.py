"""The first Nitro's reply with vectors, as its JSON library wrote it: the keys sorted, each number as short as float32
allows. Source: v0.3.22, controllers/llamaCPP.cc. Index and usage are the true ones, where it had 0 for all."""

from collections.abc import Iterator

from nitro.api import readers
from nitro.api.embedding_endpoint import EmbeddingEndpoint
from nitro.api.first_nitro import replies
from nitro.api.first_nitro.renderer import NAME
from nitro.service.embedding import Embedded

DIGITS = 9  # tell any float32 from the next one


def reply(embedded: Embedded) -> Iterator[bytes]:
    """The JSON in pieces."""
    yield b'{"data":['
    for place in range(len(embedded.vectors)):
        numbers = ",".join([f"{number:.{DIGITS}g}" for number in embedded.numbers(place)])
        before = "," if place else ""
        yield f'{before}{{"embedding":[{numbers}],"index":{place},"object":"embedding"}}'.encode()
    tokens = embedded.tokens
    yield f'],"model":"{NAME}","object":"list","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}'.encode()


EMBEDDING = EmbeddingEndpoint(reader=readers.FIRST_NITRO_EMBEDDING, reply=reply, param="input", error=replies.error)
