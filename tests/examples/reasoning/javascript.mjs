import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const stream = await client.chat.completions.create({
  model: "",
  messages: [{ role: "user", content: "Which is larger, 9.9 or 9.11?" }],
  enable_thinking: true,
  thinking_budget: 500,
  stream: true,
});
for await (const chunk of stream) {
  const { reasoning_content, content } = chunk.choices[0].delta;
  process.stdout.write(reasoning_content ?? content ?? "");
}
