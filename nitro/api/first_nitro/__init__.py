"""The API of the first Nitro (janhq, C++, 0.3.22) as its clients met it, below /inferences/ and /processmanager/.

Names, defaults, messages and replies are that server's, and so is what is not OpenAI's in them. docs/first-nitro.md
says what differs, and why. Its routes below /v1 are OpenAI's here.
"""
