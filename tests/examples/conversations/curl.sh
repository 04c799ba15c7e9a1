url=http://localhost:3928/v1
json="Content-Type: application/json"
id=$(curl --silent $url/conversations -H "$json" -d '{"metadata": {"topic": "France"}}' | grep -o 'conv_[0-9a-z]*' | head -n 1)

curl $url/responses -H "$json" -d '{"conversation": "'$id'", "input": "What is the capital of France?", "max_output_tokens": 50}'
curl $url/conversations/$id/items -H "$json" -d '{"items": [{"role": "user", "content": "And of Norway?"}]}'
curl $url/conversations/$id/items > items.json       # the last one first
item=$(grep -o 'msg_[0-9a-z]*' items.json | head -n 1)
curl $url/conversations/$id/items/$item              # one of them
curl -X DELETE $url/conversations/$id/items/$item    # take it out
curl $url/conversations/$id -H "$json" -d '{"metadata": {"topic": "capitals of France"}}'
curl $url/conversations/$id
curl -X DELETE $url/conversations/$id
