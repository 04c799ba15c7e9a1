curl http://localhost:3928/api/pull -d '{"model": "hf.co/bartowski/Qwen3-0.6B-GGUF:Q8_0"}'
curl -X DELETE http://localhost:3928/api/delete -d '{"model": "bartowski/Qwen3-0.6B-GGUF:Q8_0"}'
