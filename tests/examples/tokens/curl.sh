json="Content-Type: application/json"
curl http://localhost:3928/tokenize -H "$json" -d '{"content": "Hello, world"}'
curl http://localhost:3928/detokenize -H "$json" -d '{"tokens": [19556, 28, 905]}'
curl http://localhost:3928/apply-template -H "$json" -d '{"messages": [{"role": "user", "content": "Hello"}]}'
