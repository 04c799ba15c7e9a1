curl http://localhost:3928/health
curl http://localhost:3928/healthz
curl http://localhost:3928/metrics
curl http://localhost:3928/schema/openapi.json > openapi.json    # also at /schema
curl http://localhost:3928/schema | head -c 100
