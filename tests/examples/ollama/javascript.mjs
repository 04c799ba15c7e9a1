import { Ollama } from "ollama";

const ollama = new Ollama({ host: "http://localhost:3928" });
const short = { model: "SmolLM2-135M-Instruct", options: { num_predict: 50 } };
const messages = [{ role: "user", content: "What is the capital of France?" }];
for await (const part of await ollama.chat({ ...short, messages, stream: true })) process.stdout.write(part.message.content);
console.log((await ollama.generate({ ...short, prompt: "What is the capital of France?" })).response);
console.log((await ollama.embed({ model: short.model, input: ["A man eats."] })).embeddings[0]);
