url=http://localhost:3928/v1/models
json="Content-Type: application/json"
curl $url
curl $url/SmolLM2-135M-Instruct
curl $url/load -H "$json" -d '{"model": "SmolLM2-135M-Instruct", "options": {"context": 1024}, "keep_alive": "1h", "pin": true}'
curl $url/unload -H "$json" -d '{"model": "SmolLM2-135M-Instruct"}'    # 409 while it works, unless "force": true
