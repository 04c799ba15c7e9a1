curl "http://localhost:3928/v1/usage?days=7" -H "Authorization: Bearer secret"
