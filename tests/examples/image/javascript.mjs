import { readFile } from "node:fs/promises";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const picture = await readFile("photo.png", "base64");
const content = [
  { type: "text", text: "Which colour is this?" },
  { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
];
const reply = await client.chat.completions.create({ model: "", messages: [{ role: "user", content }], max_tokens: 50 });
console.log(reply.choices[0].message.content);
