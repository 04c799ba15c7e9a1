curl http://localhost:3928/v1/models -H "Authorization: Bearer secret"
