import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const city = { type: "object", properties: { city: { type: "string", maxLength: 20 } }, required: ["city"] };
const weather = { name: "weather", description: "Tells the weather.", parameters: city };
const tools = [{ type: "function", function: weather }];
const messages = [{ role: "user", content: "What is the weather in Oslo?" }];

const asked = await client.chat.completions.create({ model: "", messages, tools, tool_choice: "required" });
const { message } = asked.choices[0];
messages.push(message);
for (const call of message.tool_calls) {
  console.log(call.function.name, JSON.parse(call.function.arguments));
  messages.push({ role: "tool", tool_call_id: call.id, content: "It rains." }); // what your function says
}

const told = await client.chat.completions.create({ model: "", messages, tools, tool_choice: "none", max_tokens: 50 });
console.log(told.choices[0].message.content);
