// What a person asks for, and the answers that come: each is written into its conversation while it comes.

import { signal } from "@preact/signals";
import { ApiError, events } from "../api";
import { strings } from "../strings";
import { type Attachment, type Conversation, type Fault, type Message, added, changed, newId } from "./conversation";
import { find, update } from "./desk";
import { look, named } from "./models";
import { UnfitSettings, bodyOf } from "./requests";
import { Gathered } from "./stream";

const FRAME = 40; // milliseconds between two looks at what has come
const LONGEST_WAIT = 15; // seconds
const ATTEMPTS = 8; // while the server says that it will be ready soon

/** By the id of an answer that is on its way: for how many seconds the page waits before it asks again; 0: it comes. */
export const coming = signal<Record<string, number>>({});
const controllers = new Map<string, AbortController>();

/** Send a message. `after`: the message that it follows. */
export function ask(conversation: Conversation, after: string | null, text: string, attachments: Attachment[]): void {
  const message: Message = { id: newId(), parent: after, role: "user", text, attachments };
  update(conversation.id, (before) => added(before, message));
  answer(conversation.id, message.id, firstSeed(conversation));
}

/** Another answer in the place of this one, with another seed. */
export function again(conversation: Conversation, message: Message): void {
  answer(conversation.id, message.parent, randomSeed());
}

/** Go on with an answer that was stopped, or cut. */
export function goOn(conversation: Conversation, message: Message): void {
  update(conversation.id, (before) => changed(before, message.id, { state: "coming", fault: undefined }));
  void receive(conversation.id, message.id);
}

/** Send what the functions returned that this answer calls, in the order of its calls. */
export function giveResults(conversation: Conversation, message: Message, results: string[]): void {
  let parent = message.id;
  message.calls?.forEach((call, index) => {
    const result: Message = { id: newId(), parent, role: "tool", text: results[index] ?? "", callId: call.id };
    update(conversation.id, (before) => added(before, result));
    parent = result.id;
  });
  answer(conversation.id, parent, firstSeed(conversation));
}

/** Stop an answer: the server stops computing it. */
export function stop(id: string): void {
  controllers.get(id)?.abort();
}

function answer(conversation: string, parent: string | null, seed: number): void {
  const message: Message = { id: newId(), parent, role: "assistant", text: "", state: "coming", seed };
  update(conversation, (before) => added(before, message));
  void receive(conversation, message.id);
}

/** Ask for the answer and write it down, until it is whole, stopped, or failed. */
async function receive(conversation: string, id: string): Promise<void> {
  const controller = new AbortController();
  controllers.set(id, controller);
  wait(id, 0);
  const begun = find(conversation)?.messages[id];
  const gathered = begun && new Gathered(begun);
  const write = (part: Partial<Message>) => update(conversation, (before) => changed(before, id, part));
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const asked = find(conversation);
    if (!asked || !gathered) return;
    const model = named(asked.settings.model)?.id ?? asked.settings.model;
    for await (const event of attempts(bodyOf(asked, id, model), id, controller.signal)) {
      gathered.take(event);
      timer ??= setTimeout(() => {
        timer = undefined;
        write(gathered.part("coming"));
      }, FRAME);
    }
    if (!gathered.ended) throw new ApiError(0, strings.errors.ended);
    clearTimeout(timer);
    write({ ...gathered.part("whole"), fault: undefined });
  } catch (error) {
    clearTimeout(timer);
    if (controller.signal.aborted) write({ ...gathered?.part("stopped"), fault: undefined });
    else write({ ...gathered?.part("failed"), state: "failed", fault: faultOf(error) });
    void look(); // the models' states may have changed
  } finally {
    controllers.delete(id);
    const { [id]: _, ...rest } = coming.value;
    coming.value = rest;
  }
}

/** The events of the answer. Where the server is not ready, but will be, it is asked again. */
async function* attempts(body: unknown, id: string, signal: AbortSignal) {
  for (let attempt = 1; ; attempt++) {
    try {
      yield* events("/v1/chat/completions", { body, signal });
      return;
    } catch (error) {
      const soon = error instanceof ApiError ? error.retryAfter : null;
      if (soon === null || attempt === ATTEMPTS) throw error;
      void look();
      await countDown(id, Math.min(Math.max(Math.ceil(soon), 1), LONGEST_WAIT), signal);
    }
  }
}

async function countDown(id: string, seconds: number, signal: AbortSignal): Promise<void> {
  for (let left = seconds; left > 0; left--) {
    wait(id, left);
    await new Promise<void>((go) => {
      const timer = setTimeout(go, 1000);
      signal.addEventListener("abort", () => (clearTimeout(timer), go()), { once: true });
    });
    signal.throwIfAborted();
  }
  wait(id, 0);
}

function wait(id: string, seconds: number): void {
  coming.value = { ...coming.value, [id]: seconds };
}

function faultOf(error: unknown): Fault {
  if (error instanceof ApiError) return { message: error.message, param: error.param, code: error.code };
  if (error instanceof UnfitSettings) return { message: strings.chat.settings.notJson(error.message), param: null, code: null };
  return { message: String(error), param: null, code: null };
}

function firstSeed(conversation: Conversation): number {
  const wanted = conversation.settings.parameters["seed"];
  return typeof wanted === "number" ? wanted : randomSeed();
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1;
}
