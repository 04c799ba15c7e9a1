import { Ollama } from "ollama";

const ollama = new Ollama({ host: "http://localhost:3928" });
console.log((await ollama.list()).models.map((model) => model.name));
console.log((await ollama.show({ model: "SmolLM2-135M-Instruct" })).details);
console.log((await ollama.ps()).models.map((model) => model.name));
console.log(await ollama.version());
