curl http://localhost:3928/v1/chat/completions/input_tokens -H "Content-Type: application/json" -d '{
  "messages": [{"role": "user", "content": "What is the capital of France?"}]
}'
curl http://localhost:3928/v1/responses/input_tokens -H "Content-Type: application/json" -d '{
  "input": "What is the capital of France?"
}'
