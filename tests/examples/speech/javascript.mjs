import { createReadStream } from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "http://localhost:3928/v1", apiKey: "none" });
const options = () => ({ model: "", file: createReadStream("speech.wav"), prompt: "Names: Noé, Nitro" });
console.log((await client.audio.transcriptions.create({ ...options(), language: "de" })).text);
console.log((await client.audio.translations.create(options())).text);
