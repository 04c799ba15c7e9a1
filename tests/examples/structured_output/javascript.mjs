import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const Person = z.object({ name: z.string().max(20), age: z.number().int().min(0).max(120) });

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const reply = await client.chat.completions.parse({
  model: "",
  messages: [{ role: "user", content: "Anna is 30 years old." }],
  response_format: zodResponseFormat(Person, "person"),
});
const person = reply.choices[0].message.parsed;
console.log(`${person.name} is ${person.age}`);
