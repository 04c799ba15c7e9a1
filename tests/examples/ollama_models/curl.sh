curl http://localhost:3928/api/tags
curl http://localhost:3928/api/show -d '{"model": "SmolLM2-135M-Instruct"}'
curl http://localhost:3928/api/ps
curl http://localhost:3928/api/version
