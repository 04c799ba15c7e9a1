// A conversation: a tree of messages, of which one path is shown. An edited message and a second answer are siblings of
// the first. Everything here is pure: it makes new conversations, and knows neither the page nor the server.

/** A file in a message: `url` is a data: URL. */
export interface Attachment {
  kind: "image" | "audio";
  name: string;
  url: string;
}

export interface Call {
  id: string;
  name: string;
  /** JSON, as the model wrote it. */
  arguments: string;
}

/** A token of an answer, and the likeliest tokens at its place; logarithms of probabilities. */
export interface Token {
  text: string;
  logprob: number;
  others: { text: string; logprob: number }[];
}

/** What the server measured. Seconds. */
export interface Figures {
  tokens: number;
  perSecond: number;
  first: number;
  prompt: number;
  cached: number;
}

export interface Fault {
  message: string;
  param: string | null;
  code: string | null;
}

export type State = "coming" | "whole" | "cut" | "stopped" | "failed";

export interface Message {
  id: string;
  parent: string | null;
  role: "user" | "assistant" | "tool";
  text: string;
  attachments?: Attachment[];
  /** Of a tool's result: the call that it answers. */
  callId?: string;
  /** Of an answer, from here on. */
  state?: State;
  reasoning?: string;
  calls?: Call[];
  tokens?: Token[];
  figures?: Figures;
  fault?: Fault;
  seed?: number;
  model?: string;
}

export interface Settings {
  /** "": one that the server offers. */
  model: string;
  system: string;
  /** By the API's names; what is not here is left to the server. */
  parameters: Record<string, unknown>;
  format: "free" | "schema";
  schema: string;
  tools: string;
  probabilities: boolean;
}

export interface Conversation {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  changed: number;
  settings: Settings;
  messages: Record<string, Message>;
  /** Which child of a message is shown, by the message's id; "" is the parent of the first ones. */
  chosen: Record<string, string>;
}

export const NO_SETTINGS: Settings = {
  model: "",
  system: "",
  parameters: {},
  format: "free",
  schema: "",
  tools: "",
  probabilities: false,
};

const TITLE_LENGTH = 60;

export function newId(): string {
  // crypto.randomUUID is not there on pages that come over http from another machine
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newConversation(settings: Settings = NO_SETTINGS): Conversation {
  return { id: newId(), title: "", changed: Date.now(), settings, messages: {}, chosen: {} };
}

/** The messages that are shown, the first one first. */
export function path(conversation: Conversation): Message[] {
  const found: Message[] = [];
  let parent = "";
  for (;;) {
    const next = conversation.messages[conversation.chosen[parent] ?? ""];
    if (!next) return found;
    found.push(next);
    parent = next.id;
  }
}

/** The messages from the first one to this one. */
export function upTo(conversation: Conversation, id: string | null): Message[] {
  const found: Message[] = [];
  for (let each = conversation.messages[id ?? ""]; each; each = conversation.messages[each.parent ?? ""]) found.unshift(each);
  return found;
}

/** A message and those in whose place it stands, in the order in which they came. */
export function versions(conversation: Conversation, message: Message): Message[] {
  return Object.values(conversation.messages).filter(
    (each) => each.parent === message.parent && (each.role === "assistant") === (message.role === "assistant"),
  );
}

/** With a message more, which is shown. The first words become the title. */
export function added(conversation: Conversation, message: Message): Conversation {
  const title = conversation.title || (message.role === "user" ? titleOf(message.text) : "");
  return {
    ...conversation,
    title,
    changed: Date.now(),
    messages: { ...conversation.messages, [message.id]: message },
    chosen: { ...conversation.chosen, [message.parent ?? ""]: message.id },
  };
}

/** With this part of a message changed. */
export function changed(conversation: Conversation, id: string, part: Partial<Message>): Conversation {
  const message = conversation.messages[id];
  if (!message) return conversation;
  return { ...conversation, changed: Date.now(), messages: { ...conversation.messages, [id]: { ...message, ...part } } };
}

/** With this message shown. */
export function choosing(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, chosen: { ...conversation.chosen, [message.parent ?? ""]: message.id } };
}

function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH)}…` : line;
}
