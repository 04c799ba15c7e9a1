// Conversations as files: JSON holds all that is known of them, Markdown what is shown of one.

import { type Conversation, NO_SETTINGS } from "./conversation";
import { fromMarkdown } from "./markdownFile";

const FORM = "nitro-conversations-1";

/** All that is known of them. */
export function asJson(conversations: Conversation[]): string {
  return JSON.stringify({ form: FORM, conversations }, null, 1);
}

/** The conversations of such a file, or of one in Markdown; none where it is another one. */
export function fromFile(text: string): Conversation[] {
  try {
    return fromJson(JSON.parse(text));
  } catch {
    const found = fromMarkdown(text);
    return found ? [found] : [];
  }
}

/** Give a text to the person as a file. */
export function download(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function fromJson(read: { form?: string; conversations?: unknown[] } | null): Conversation[] {
  return read?.form === FORM && Array.isArray(read.conversations) ? read.conversations.filter(isConversation).map(whole) : [];
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
