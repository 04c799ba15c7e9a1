url=http://localhost:3928/v1/records
curl $url > records.json
id=$(grep -o 'req_[0-9a-f]*' records.json | head -n 1)
curl $url/$id                       # what was asked and answered
curl $url/$id/file > $id.jsonl      # for `nitro replay`, or a bug report
curl -X DELETE $url/$id
curl -X DELETE $url                 # all of them
