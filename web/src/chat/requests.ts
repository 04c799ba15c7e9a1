// What the page asks of `POST /v1/chat/completions`: a conversation's messages and settings, in the API's words.

import { type Conversation, type Message, type Settings, upTo } from "./conversation";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const LIKELY = 5; // tokens at each place, where probabilities are recorded

/** What is wrong with the settings before anything is sent. */
export class UnfitSettings extends Error {}

/** The body that asks `model` for the answer `id`. If that has a text, it is continued. */
export function bodyOf(conversation: Conversation, id: string, model: string): Record<string, unknown> {
  const answer = conversation.messages[id];
  const { settings } = conversation;
  const messages = upTo(conversation, id).filter(saysSomething).map(messageOf);
  const system = settings.system.trim() ? [{ role: "system", content: settings.system }] : [];
  return {
    ...settings.parameters,
    model,
    messages: [...system, ...messages],
    seed: answer?.seed,
    stream: true,
    stream_options: { include_usage: true },
    ...(settings.probabilities ? { logprobs: true, top_logprobs: LIKELY } : {}),
    ...formatOf(settings),
    ...toolsOf(settings),
  };
}

/** Not an answer that has not come yet, or never did. */
function saysSomething(message: Message): boolean {
  return message.role !== "assistant" || Boolean(message.text || message.calls?.length);
}

function messageOf(message: Message): Record<string, unknown> {
  if (message.role === "tool") return { role: "tool", tool_call_id: message.callId, content: message.text };
  if (message.role === "user") return { role: "user", content: contentOf(message) };
  const calls = message.calls?.map((call) => ({
    id: call.id,
    type: "function",
    function: { name: call.name, arguments: call.arguments },
  }));
  return { role: "assistant", content: message.text, ...(calls?.length ? { tool_calls: calls } : {}) };
}

function contentOf(message: Message): unknown {
  if (!message.attachments?.length) return message.text;
  const parts: unknown[] = message.attachments.map((each) =>
    each.kind === "image"
      ? { type: "image_url", image_url: { url: each.url } }
      : { type: "input_audio", input_audio: { data: each.url.slice(each.url.indexOf(",") + 1) } },
  );
  return message.text ? [...parts, { type: "text", text: message.text }] : parts;
}

function formatOf(settings: Settings): Record<string, unknown> {
  if (settings.format === "free") return {};
  return { response_format: { type: "json_schema", json_schema: { name: "answer", schema: parsed(settings.schema) } } };
}

function toolsOf(settings: Settings): Record<string, unknown> {
  return settings.tools.trim() ? { tools: parsed(settings.tools) } : {};
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw new UnfitSettings((error as Error).message);
  }
}
