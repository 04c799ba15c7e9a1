url=http://localhost:3928
json="Content-Type: application/json"
curl $url/v1/load_lora_adapter -H "$json" -d '{"lora_name": "poet", "lora_path": "/models/poet"}'
curl $url/v1/completions -H "$json" -d '{"model": "poet", "prompt": "Rain", "max_tokens": 20}'
curl $url/lora-adapters                                           # its id, and its scale for who names none
curl $url/lora-adapters -H "$json" -d '[{"id": 0, "scale": 0.5}]'
curl $url/v1/unload_lora_adapter -H "$json" -d '{"lora_name": "poet"}'
