import json

from openai import OpenAI

client = OpenAI(base_url="http://localhost:3928/v1", api_key="none")
city = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
function = {"name": "weather", "description": "Tells the weather.", "parameters": city}
tools = [{"type": "function", "function": function}]
messages = [{"role": "user", "content": "What is the weather in Oslo?"}]

reply = client.chat.completions.create(model="", messages=messages, tools=tools, tool_choice="required")
message = reply.choices[0].message
messages.append(message)
for call in message.tool_calls:
    print(call.function.name, json.loads(call.function.arguments))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "It rains."})  # what your function says

reply = client.chat.completions.create(model="", messages=messages, tools=tools, tool_choice="none", max_tokens=50)
print(reply.choices[0].message.content)
