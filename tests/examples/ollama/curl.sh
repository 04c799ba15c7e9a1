curl http://localhost:3928/api/chat -d '{
  "model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "What is the capital of France?"}],
  "options": {"num_predict": 50}, "stream": false
}'
curl http://localhost:3928/api/generate -d '{
  "model": "SmolLM2-135M-Instruct", "prompt": "What is the capital of France?", "options": {"num_predict": 50}
}'
curl http://localhost:3928/api/embed -d '{"model": "SmolLM2-135M-Instruct", "input": ["A man eats."]}'
