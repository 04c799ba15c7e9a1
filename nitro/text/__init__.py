"""Messages to prompt text, and a model's text to content, reasoning and tool calls. Knows no HTTP and no engine."""

# Characters of a chat template. Python's compiler takes seconds for more; the longest known have 2**15.
MAX_TEMPLATE_CHARACTERS = 2**18
