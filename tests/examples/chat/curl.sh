curl http://localhost:3928/v1/chat/completions -H "Content-Type: application/json" -d '{
  "model": "SmolLM2-135M-Instruct",
  "messages": [{"role": "user", "content": "What is the capital of France?"}],
  "max_tokens": 50
}'
