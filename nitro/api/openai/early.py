"""What a stream of OpenAI's has before its model is loaded."""

from nitro.api import sse
from nitro.api.late_stream import Early

EARLY = Early(sse.MEDIA_TYPE, sse.HEADERS, sse.KEEPALIVE, lambda error: sse.error(error) + sse.DONE, sse.comment)
