"""OpenAI's routes for speech: `POST /v1/audio/transcriptions` and `/v1/audio/translations`."""
