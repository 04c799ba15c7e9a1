url=http://localhost:3928/v1
curl -N -D head.txt $url/chat/completions -H "Content-Type: application/json" \
  -d '{"messages": [{"role": "user", "content": "Count to a thousand."}], "max_tokens": 900, "stream": true}' > answer.txt &
until grep -q '^x-request-id' head.txt 2> /dev/null; do sleep 0.1; done
curl -N $url/server/events | head -n 2      # a snapshot; without `head`, a change whenever there is one
curl -X POST $url/server/requests/$(grep -o 'req_[0-9a-f]*' head.txt | head -n 1)/abort
wait
tail -n 6 answer.txt
