curl http://localhost:3928/v1/embeddings -H "Content-Type: application/json" -d '{
  "input": ["A man eats.", "Somebody has a meal.", "Shares fell."]
}'
