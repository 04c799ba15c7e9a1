curl -X DELETE http://localhost:3928/v1/cache
