url=http://localhost:3928/v1/uploads
json="Content-Type: application/json"
about='"filename": "questions.jsonl", "mime_type": "application/jsonl", "purpose": "batch"'
upload=$(curl $url -H "$json" -d "{$about, \"bytes\": $(wc -c < questions.jsonl)}" | grep -o 'upload_[0-9a-z]*' | head -n 1)
head -c 50 questions.jsonl > first.part
tail -c +51 questions.jsonl > second.part
first=$(curl $url/$upload/parts -F data=@first.part | grep -o 'part_[0-9a-z]*' | head -n 1)
second=$(curl $url/$upload/parts -F data=@second.part | grep -o 'part_[0-9a-z]*' | head -n 1)
curl $url/$upload/complete -H "$json" -d '{"part_ids": ["'$first'", "'$second'"]}'

other=$(curl $url -H "$json" -d "{$about, \"bytes\": 10}" | grep -o 'upload_[0-9a-z]*' | head -n 1)
curl -X POST $url/$other/cancel
