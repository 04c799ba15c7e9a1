"""Where the readers of requests are, as "module:function": they run in an intake process, and are not imported here."""

CHAT = "nitro.api.openai.parse:read_chat"
COMPLETION = "nitro.api.openai.parse:read_completion"
READERS = (CHAT, COMPLETION)
WARM_UP = (CHAT, b'{"messages": [{"role": "user", "content": "Hello"}]}')  # a reader, and a body for it
