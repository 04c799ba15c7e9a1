// What lies open: all conversations of this browser, which of them is shown, and what a person does to them.

import { computed, effect, signal } from "@preact/signals";
import { go, place } from "../place";
import { type Conversation, type Message, NO_SETTINGS, type Settings, newConversation, path } from "./conversation";
import * as store from "./store";

const DELAY = 1000; // milliseconds after which what is typed or comes is kept; all else is kept at once

const all = signal<Record<string, Conversation>>({});
const draft = signal(newConversation());
const unsaved = new Map<string, ReturnType<typeof setTimeout>>();

/** Whether what the browser has kept was read. */
export const opened = signal(false);
export const list = computed(() => Object.values(all.value).sort((a, b) => b.changed - a.changed));
/** The one that is shown; a new one where there is none. */
export const current = computed(() => all.value[place.value.rest] ?? draft.value);
export const shown = computed(() => path(current.value));

/** Read what the browser has kept. */
export async function openDesk(): Promise<void> {
  all.value = Object.fromEntries((await store.all()).map((each) => [each.id, settled(each)]));
  draft.value = newConversation(inherited(list.value[0]?.settings));
  opened.value = true;
  store.onChange((id) => void readAgain(id));
  addEventListener("pagehide", () => [...unsaved.keys()].forEach(keep));
  effect(() => {
    // a link to a conversation that is not here any more
    if (place.value.view === "chat" && place.value.rest && !all.value[place.value.rest]) go("chat");
  });
}

/** A conversation by its id. */
export function find(id: string): Conversation | undefined {
  return all.value[id] ?? (draft.value.id === id ? draft.value : undefined);
}

/** Change a conversation. It is kept once it has a message. */
export function update(id: string, change: (before: Conversation) => Conversation): void {
  const before = find(id);
  if (!before) return; // it was deleted meanwhile
  const after = change(before);
  if (Object.keys(after.messages).length === 0) {
    draft.value = after;
    return;
  }
  all.value = { ...all.value, [id]: after };
  if (id === draft.value.id) {
    draft.value = newConversation(inherited(after.settings));
    go("chat", id);
  }
  if (after.messages !== before.messages && !isComing(after)) keep(id);
  else if (!unsaved.has(id)) unsaved.set(id, setTimeout(() => keep(id), DELAY));
}

export function updateSettings(part: Partial<Settings>): void {
  update(current.value.id, (before) => ({ ...before, settings: { ...before.settings, ...part } }));
}

/** Begin a new one, with the model and the parameters of the one that is shown. */
export function begin(): void {
  draft.value = newConversation(inherited(current.value.settings));
  go("chat");
}

export function remove(id: string): void {
  const { [id]: _, ...rest } = all.value;
  clearTimeout(unsaved.get(id));
  unsaved.delete(id);
  if (place.value.rest === id) go("chat");
  all.value = rest;
  void store.remove(id);
}

/** Take in conversations from outside, in place of those with the same ids. */
export function takeIn(conversations: Conversation[]): void {
  for (const each of conversations) {
    all.value = { ...all.value, [each.id]: each };
    keep(each.id);
  }
}

function isComing(conversation: Conversation): boolean {
  return Object.values(conversation.messages).some((each) => each.state === "coming");
}

/** With no answer on its way: whoever received it has gone. */
function settled(conversation: Conversation): Conversation {
  const messages = Object.entries(conversation.messages).map(([id, each]): [string, Message] => [
    id,
    each.state === "coming" ? { ...each, state: "stopped" } : each,
  ]);
  return { ...conversation, messages: Object.fromEntries(messages) };
}

function keep(id: string): void {
  clearTimeout(unsaved.get(id));
  unsaved.delete(id);
  const conversation = all.value[id];
  if (conversation) void store.save(conversation);
}

async function readAgain(id: string): Promise<void> {
  if (unsaved.has(id)) return; // this tab's own change comes last
  const { [id]: _, ...rest } = all.value;
  const found = await store.one(id);
  all.value = found ? { ...rest, [id]: found } : rest;
}

function inherited(settings: Settings = NO_SETTINGS): Settings {
  const { model, system, parameters, probabilities } = settings;
  return { ...NO_SETTINGS, model, system, parameters, probabilities };
}
