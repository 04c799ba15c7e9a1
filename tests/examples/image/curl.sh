echo '{"max_tokens": 50, "messages": [{"role": "user", "content": [
  {"type": "text", "text": "Which colour is this?"},
  {"type": "image_url", "image_url": {"url": "data:image/png;base64,'"$(base64 < photo.png | tr -d '\n')"'"}}]}]}' |
  curl http://localhost:3928/v1/chat/completions -H "Content-Type: application/json" -d @-
