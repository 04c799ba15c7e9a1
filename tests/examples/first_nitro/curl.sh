url=http://localhost:3928/inferences/llamacpp
json="Content-Type: application/json"
curl $url/loadmodel -H "$json" -d '{"llama_model_path": "/models/smollm2.gguf", "ctx_len": 512}'
curl $url/modelstatus
curl $url/chat_completion -H "$json" -d '{
  "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 50, "temperature": 0
}'
curl $url/embedding -H "$json" -d '{"input": "A man eats."}'
curl $url/unloadmodel
