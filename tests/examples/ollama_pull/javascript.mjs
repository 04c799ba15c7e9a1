import { Ollama } from "ollama";

const ollama = new Ollama({ host: "http://localhost:3928" });
for await (const part of await ollama.pull({ model: "hf.co/bartowski/Qwen3-0.6B-GGUF:Q8_0", stream: true })) {
  console.log(part.status, part.completed, part.total);
}
await ollama.delete({ model: "bartowski/Qwen3-0.6B-GGUF:Q8_0" });
