url=http://localhost:3928/v1/audio
curl $url/transcriptions -F file=@speech.wav -F language=de -F prompt="Names: Noé, Nitro" -F response_format=text
curl $url/translations -F file=@speech.wav -F prompt="Names: Noé, Nitro"
