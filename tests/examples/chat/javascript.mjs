import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const stream = await client.chat.completions.create({
  model: "SmolLM2-135M-Instruct",
  messages: [{ role: "user", content: "What is the capital of France?" }],
  max_tokens: 50,
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0].delta.content ?? "");
