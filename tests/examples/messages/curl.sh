curl http://localhost:3928/v1/messages -H "Content-Type: application/json" -d '{
  "model": "SmolLM2-135M-Instruct", "max_tokens": 50,
  "messages": [{"role": "user", "content": "What is the capital of France?"}]
}'
curl http://localhost:3928/v1/messages/count_tokens -H "Content-Type: application/json" -d '{
  "model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "What is the capital of France?"}]
}'
