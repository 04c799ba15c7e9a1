// Where conversations are kept: IndexedDB of this browser, one record each. Where the browser has none (a private
// window, a full disk), they live as long as the page, and `kept` says so.

import { signal } from "@preact/signals";
import type { Conversation } from "./conversation";

const DATABASE = "nitro";
const VERSION = 1;
const TABLE = "conversations";

/** Whether this browser keeps what is saved. */
export const kept = signal(true);

const memory = new Map<string, Conversation>();
const others = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("nitro.conversations");
let opening: Promise<IDBDatabase> | null = null;
let database: IDBDatabase | null = null;

/** Calls back when another tab has saved or removed a conversation. */
export function onChange(tell: (id: string) => void): void {
  others?.addEventListener("message", (event: MessageEvent<string>) => tell(event.data));
}

/** All of them, the one that was changed last first. */
export async function all(): Promise<Conversation[]> {
  const found = (await tried((table) => table.getAll() as IDBRequest<Conversation[]>, "readonly")) ?? [...memory.values()];
  return found.sort((a, b) => b.changed - a.changed);
}

/** The one with this id. */
export async function one(id: string): Promise<Conversation | undefined> {
  const found = await tried((table) => table.get(id) as IDBRequest<Conversation | undefined>, "readonly");
  return found ?? memory.get(id);
}

export async function save(conversation: Conversation): Promise<void> {
  if ((await tried((table) => table.put(conversation), "readwrite")) === undefined) memory.set(conversation.id, conversation);
  others?.postMessage(conversation.id);
}

export async function remove(id: string): Promise<void> {
  memory.delete(id);
  await tried((table) => table.delete(id), "readwrite");
  others?.postMessage(id);
}

/** What the table answers; undefined where the browser refuses. */
async function tried<T>(ask: (table: IDBObjectStore) => IDBRequest<T>, mode: IDBTransactionMode): Promise<T | undefined> {
  try {
    database ??= await (opening ??= open()); // later calls ask at once, since the page may be about to close
    const transaction = database.transaction(TABLE, mode);
    return await answered(ask(transaction.objectStore(TABLE)));
  } catch (error) {
    console.warn(error);
    kept.value = false;
    return undefined;
  }
}

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE, VERSION);
  request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "id" });
  return answered(request);
}

function answered<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
