// A conversation as a Markdown file that people read, and that can be taken in again: comments, which no reader shows,
// say what each part is. Only what is shown is written: other versions of messages are not.
//
//   # Title
//   <!-- nitro: user -->
//   ## You
//   Is it sunny?
//   <!-- nitro: assistant -->
//   ## Model (SmolLM2-135M-Instruct)
//   <!-- nitro: reasoning -->
//   > Hm.
//   <!-- nitro: call call_1 get_weather -->
//   ```json
//   {"city": "Paris"}
//   ```
//   <!-- nitro: tool call_1 -->
//   ## Result of a tool
//   Sunny.

import { strings } from "../strings";
import { type Attachment, type Conversation, type Message, added, newConversation, newId, path } from "./conversation";

const MARK = /^<!-- nitro: (.*) -->$/;
const HEADING = /^## .*$/;
const FILE = /^!?\[(.*)\]\((data:(image|audio)\/[^)\s]*)\)$/;
const MODEL = /^## [^(]* \((.*)\)$/;

/** What is shown of it. */
export function asMarkdown(conversation: Conversation): string {
  const { system } = conversation.settings;
  const parts = [`# ${conversation.title}`];
  if (system) parts.push(mark("system"), heading("system"), marksHidden(system));
  for (const message of path(conversation)) parts.push(...written(message));
  return `${parts.filter(Boolean).join("\n\n")}\n`;
}

/** The conversation of such a file; null where it is another one. */
export function fromMarkdown(text: string): Conversation | null {
  const parts = split(text);
  const kinds = new Set(["system", "user", "assistant", "tool"]);
  if (!parts.some(({ mark: [kind] }) => kinds.has(kind ?? ""))) return null;
  let conversation = newConversation();
  conversation = { ...conversation, title: /^# (.*)$/m.exec(text)?.[1] ?? "" };
  let last: Message | null = null;
  for (const { mark: [kind, ...words], body } of parts) {
    if (kind === "system") conversation = { ...conversation, settings: { ...conversation.settings, system: headless(body) } };
    else if (kind === "reasoning" && last) last.reasoning = body.replace(/^> ?/gm, "");
    else if (kind === "text" && last) last.text = body;
    else if (kind === "call" && last) {
      (last.calls ??= []).push({ id: words[0] ?? "", name: words[1] ?? "", arguments: unfenced(body) });
    } else if (kind === "user" || kind === "assistant" || kind === "tool") {
      last = read(kind, last?.id ?? null, words[0], body);
      conversation = added(conversation, last);
    }
  }
  return conversation;
}

function written(message: Message): string[] {
  const name = message.role === "assistant" && message.model ? ` (${message.model})` : "";
  const parts = [mark(message.role, message.callId ?? ""), `${heading(message.role)}${name}`];
  if (message.reasoning) parts.push(mark("reasoning"), marksHidden(message.reasoning).replace(/^/gm, "> "), mark("text"));
  for (const each of message.attachments ?? []) parts.push(`${each.kind === "image" ? "!" : ""}[${each.name.replace(/[[\]\n]/g, "")}](${each.url})`);
  parts.push(marksHidden(message.text));
  for (const call of message.calls ?? []) parts.push(mark("call", call.id, call.name), fenced(call.arguments));
  return parts;
}

function read(role: Message["role"], parent: string | null, callId: string | undefined, body: string): Message {
  const lines = body.split("\n");
  const model = MODEL.exec(lines[0] ?? "")?.[1];
  const attachments: Attachment[] = [];
  const text = headless(body).split("\n").filter((line) => {
    const found = role === "user" && FILE.exec(line);
    if (found) attachments.push({ name: found[1]!, url: found[2]!, kind: found[3] as Attachment["kind"] });
    return !found;
  });
  const message: Message = { id: newId(), parent, role, text: text.join("\n").trim() };
  if (role === "assistant") return { ...message, state: "whole", model };
  return role === "tool" ? { ...message, callId } : { ...message, attachments };
}

function split(text: string): { mark: string[]; body: string }[] {
  const parts: { mark: string[]; lines: string[] }[] = [];
  for (const line of text.split(/\r?\n/)) {
    const found = MARK.exec(line);
    if (found) parts.push({ mark: found[1]!.split(" "), lines: [] });
    else parts.at(-1)?.lines.push(line);
  }
  return parts.map(({ mark, lines }) => ({ mark, body: shown(lines.join("\n").trim()) }));
}

function mark(...words: string[]): string {
  return `<!-- nitro: ${words.filter(Boolean).join(" ")} -->`;
}

/** A text's own lines that look like marks, made to look otherwise; `shown` undoes it. */
function marksHidden(text: string): string {
  return text.replace(/^(\\*)(<!-- nitro: .* -->)$/gm, "\\$1$2");
}

function shown(text: string): string {
  return text.replace(/^((?:> )?)\\(\\*<!-- nitro: .* -->)$/gm, "$1$2");
}

function heading(role: string): string {
  return `## ${strings.chat.roles[role]}`;
}

function headless(body: string): string {
  const lines = body.split("\n");
  return (HEADING.test(lines[0] ?? "") ? lines.slice(1) : lines).join("\n").trim();
}

function fenced(text: string): string {
  const ticks = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map((found) => found[0].length + 1)));
  return `${ticks}json\n${text}\n${ticks}`;
}

function unfenced(text: string): string {
  return text.split("\n").slice(1, -1).join("\n");
}
