curl http://localhost:3928/v1/completions -H "Content-Type: application/json" -d '{
  "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0
}'
