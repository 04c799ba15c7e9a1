curl http://localhost:3928/v1/rerank -H "Content-Type: application/json" -d '{
  "query": "What is the capital of France?",
  "documents": ["Oslo is in Norway.", {"text": "Paris has been the capital since 987."}],
  "top_n": 1, "return_documents": true
}'
curl http://localhost:3928/v1/score -H "Content-Type: application/json" -d '{
  "text_1": "What is the capital of France?", "text_2": ["Oslo is in Norway.", "Paris is the capital."]
}'
