"""Where the readers of requests are, as "module:function": they run in an intake process, and are not imported here."""

CHAT = "nitro.api.openai.parse:read_chat"
COMPLETION = "nitro.api.openai.parse:read_completion"
EMBEDDINGS = "nitro.api.openai.embedding_requests:read"
NAME = "nitro.api.openai.model_name:read"
RESPONSE = "nitro.api.responses.parse:read"  # a RememberingReader
RESPONSE_NAME = "nitro.api.responses.asked:read"
FIRST_NITRO_CHAT = "nitro.api.first_nitro.parse:read_chat"  # imported when it is needed: it is rarely
FIRST_NITRO_EMBEDDING = "nitro.api.first_nitro.parse:read_embedding"
OLLAMA_CHAT = "nitro.api.ollama.parse:read_chat"  # the same
OLLAMA_CHAT_NAME = "nitro.api.ollama.parse:name_chat"
OLLAMA_GENERATE = "nitro.api.ollama.parse:read_generate"
OLLAMA_GENERATE_NAME = "nitro.api.ollama.parse:name_generate"
OLLAMA_EMBED = "nitro.api.ollama.embedding:read_embed"
OLLAMA_EMBEDDINGS = "nitro.api.ollama.embedding:read_embeddings"
READERS = (CHAT, COMPLETION, EMBEDDINGS, NAME)
WARM_UP = (CHAT, b'{"messages": [{"role": "user", "content": "Hello"}]}')  # a reader, and a body for it
