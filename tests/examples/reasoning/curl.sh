curl http://localhost:3928/v1/chat/completions -H "Content-Type: application/json" -d '{
  "messages": [{"role": "user", "content": "Which is larger, 9.9 or 9.11?"}],
  "enable_thinking": true, "thinking_budget": 500
}'
