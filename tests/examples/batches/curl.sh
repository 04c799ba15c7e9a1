url=http://localhost:3928/v1
json="Content-Type: application/json"
file=$(curl $url/files -F purpose=batch -F file=@questions.jsonl | grep -o 'file_[0-9a-z]*' | head -n 1)
batch=$(curl $url/batches -H "$json" -d '{
  "input_file_id": "'$file'", "endpoint": "/v1/chat/completions", "completion_window": "24h"
}' | grep -o 'batch_[0-9a-z]*' | head -n 1)

until curl $url/batches/$batch | grep -E '"status":"(completed|failed|expired|cancelled)"'; do sleep 1; done
output=$(curl $url/batches/$batch | grep -o '"output_file_id":"[^"]*"' | cut -d '"' -f 4)
curl $url/files/$output/content
curl $url/files/$output              # what it is
curl $url/batches                    # all batches, the newest first
curl -X POST $url/batches/$batch/cancel   # too late: it has ended
curl $url/files
curl -X DELETE $url/files/$file
