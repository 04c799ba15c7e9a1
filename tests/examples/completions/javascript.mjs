import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const reply = await client.completions.create({
  model: "",
  prompt: "The capital of France is",
  max_tokens: 8,
  temperature: 0,
});
console.log(reply.choices[0].text);
