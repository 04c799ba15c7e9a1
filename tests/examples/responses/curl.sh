curl http://localhost:3928/v1/responses -H "Content-Type: application/json" -d '{
  "input": "What is the capital of France?", "max_output_tokens": 50
}'
