// Conversations as files: JSON, which can be taken in again, and Markdown, which can be read.

import { strings } from "../strings";
import { type Conversation, type Message, NO_SETTINGS, path } from "./conversation";

const FORM = "nitro-conversations-1";

/** All that is known of them. */
export function asJson(conversations: Conversation[]): string {
  return JSON.stringify({ form: FORM, conversations }, null, 1);
}

/** The conversations of such a file; none where it is another one. */
export function fromJson(text: string): Conversation[] {
  try {
    const read = JSON.parse(text) as { form?: string; conversations?: unknown[] };
    return read.form === FORM && Array.isArray(read.conversations) ? read.conversations.filter(isConversation).map(whole) : [];
  } catch {
    return [];
  }
}

/** What is shown of it, to be read. */
export function asMarkdown(conversation: Conversation): string {
  const { system } = conversation.settings;
  const parts = [`# ${conversation.title}`];
  if (system) parts.push(`## ${strings.chat.roles["system"]}`, system);
  for (const message of path(conversation)) parts.push(...messageParts(message));
  return `${parts.filter(Boolean).join("\n\n")}\n`;
}

/** Give a text to the person as a file. */
export function download(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function messageParts(message: Message): string[] {
  const from = message.role === "assistant" && message.model ? ` (${message.model})` : "";
  const reasoning = message.reasoning ? quoted(`${strings.chat.message.reasoning}\n\n${message.reasoning}`) : "";
  const calls = (message.calls ?? []).map((call) => `\`${call.name}\`\n\n${fenced(call.arguments)}`);
  const files = (message.attachments ?? []).map((each) => (each.kind === "image" ? `![${each.name}](${each.url})` : `[${each.name}](${each.url})`));
  return [`## ${strings.chat.roles[message.role]}${from}`, reasoning, ...files, message.text, ...calls];
}

function quoted(text: string): string {
  return text.replace(/^/gm, "> ");
}

function fenced(text: string): string {
  const ticks = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map((found) => found[0].length + 1)));
  return `${ticks}json\n${text}\n${ticks}`;
}

function isConversation(value: unknown): value is Conversation {
  const each = value as Partial<Conversation> | null;
  return (
    typeof each === "object" && each !== null && typeof each.id === "string" && typeof each.title === "string" &&
    typeof each.messages === "object" && each.messages !== null && typeof each.chosen === "object" && each.chosen !== null &&
    Object.values(each.messages).every((message) => typeof message?.text === "string" && typeof message.role === "string")
  ); // prettier-ignore
}

function whole(conversation: Conversation): Conversation {
  return { ...conversation, changed: Number(conversation.changed) || 0, settings: { ...NO_SETTINGS, ...conversation.settings } };
}
