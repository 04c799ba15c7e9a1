url=http://localhost:3928/v1/responses
json="Content-Type: application/json"
id=$(curl --silent $url -H "$json" -d '{"input": "Tell me a story.", "background": true}' | grep -o 'resp_[0-9a-z]*' | head -n 1)

curl $url/$id                       # its status, and its output once it has ended
curl -X POST $url/$id/cancel        # end it
curl $url/$id/input_items           # what it was made of
curl -X DELETE $url/$id             # forget it
