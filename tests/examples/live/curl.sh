url=http://localhost:3928/v1
curl $url/chat/completions -H "Content-Type: application/json" -d '{
  "messages": [{"role": "user", "content": "Tell me a story."}], "stream": true
}' > story.txt &
id=$(curl --no-buffer $url/server/events | grep --max-count 1 --only-matching 'req_[0-9a-f]*' | head -n 1)
curl -X POST $url/server/requests/$id/abort
