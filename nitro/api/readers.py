"""Where the readers of requests are, as "module:function": they run in an intake process, and are not imported here."""

CHAT = "nitro.api.openai.parse:read_chat"
COMPLETION = "nitro.api.openai.parse:read_completion"
EMBEDDINGS = "nitro.api.openai.embedding_requests:read"
RERANK = "nitro.api.rerank.requests:read_rerank"
SCORE = "nitro.api.rerank.requests:read_score"
NAME = "nitro.api.openai.model_name:read"
MESSAGES = "nitro.api.anthropic.parse:read"
MESSAGES_COUNT = "nitro.api.anthropic.parse:read_count"  # the same without `max_tokens`
RESPONSE = "nitro.api.responses.parse:read"  # a RememberingReader
RESPONSE_NAME = "nitro.api.responses.asked:read"
CONVERSATION = "nitro.api.responses.conversation_bodies:read"  # in the place of a Namer
TOKENIZE = "nitro.api.llama_server.parse:read_tokenize"  # these are imported when they are needed
DETOKENIZE = "nitro.api.llama_server.parse:read_detokenize"
FIRST_NITRO_EMBEDDING = "nitro.api.first_nitro.parse:read_embedding"
FIRST_NITRO_CHAT = "nitro.api.first_nitro.parse:read_chat"
OLLAMA_CHAT = "nitro.api.ollama.parse:read_chat"
OLLAMA_CHAT_NAME = "nitro.api.ollama.parse:name_chat"
OLLAMA_GENERATE = "nitro.api.ollama.parse:read_generate"
OLLAMA_GENERATE_NAME = "nitro.api.ollama.parse:name_generate"
OLLAMA_EMBED = "nitro.api.ollama.embedding:read_embed"
OLLAMA_EMBEDDINGS = "nitro.api.ollama.embedding:read_embeddings"
TRANSCRIPTION = "nitro.api.audio.parse:read_transcription"
TRANSLATION = "nitro.api.audio.parse:read_translation"
SPEECH_NAME = "nitro.api.audio.parse:name"
READERS = (CHAT, COMPLETION, EMBEDDINGS, RERANK, NAME, MESSAGES)
WARM_UP = (CHAT, b'{"messages": [{"role": "user", "content": "Hello"}]}')  # a reader, and a body for it
