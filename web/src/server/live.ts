// What the server is doing, as it changes: signals that the view shows. While the view is open it listens, and again
// after the stream has ended.

import { signal } from "@preact/signals";
import { ApiError, events } from "../api";
import { History } from "./History";
import type { LiveEvent, Model, Request } from "./state";

const AGAIN = 2000; // milliseconds before the next try
const MAX_ENDED = 100; // requests that are kept once they have ended

export interface Live {
  /** "waiting" until the first event, "lost" while the server does not answer, "refused" where it does not tell us. */
  connection: "waiting" | "live" | "lost" | "refused";
  /** The server's words for that. */
  refusal: string;
  version: string;
  memory: number;
  models: Model[];
  /** Those under way and the last that have ended, the newest first. */
  requests: Request[];
}

export const live = signal<Live>({ connection: "waiting", refusal: "", version: "", memory: 0, models: [], requests: [] });
/** Counts the seconds of `history`, which is changed in place. */
export const seconds = signal(0);
export const history = new History();
let offset = 0; // from this machine's clock to the server's, in seconds

/** The server's time now, in seconds. */
export const serverTime = (): number => Date.now() / 1000 + offset;

/** Listen until what is returned is called. */
export function listen(): () => void {
  const stop = new AbortController();
  const timer = setInterval(second, 1000);
  void follow(stop.signal);
  return () => {
    clearInterval(timer);
    stop.abort();
  };
}

async function follow(stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      for await (const { data } of events("/v1/server/events", { signal: stop })) take(JSON.parse(data) as LiveEvent);
    } catch (error) {
      if (error instanceof ApiError && error.status === 403) {
        live.value = { ...live.value, connection: "refused", refusal: error.message };
        return;
      }
      if (!stop.aborted) console.info(error);
    }
    if (stop.aborted) return;
    live.value = { ...live.value, connection: "lost" };
    await new Promise((go) => setTimeout(go, AGAIN));
  }
}

function take(event: LiveEvent): void {
  offset = event.time - Date.now() / 1000;
  const before = live.value;
  const known = new Map(event.type === "snapshot" ? [] : before.requests.map((request) => [request.id, request]));
  for (const request of event.requests ?? []) {
    known.set(request.id, request);
    history.note(request);
  }
  live.value = {
    connection: "live",
    refusal: "",
    version: event.version ?? before.version,
    memory: event.memory ?? before.memory,
    models: event.models ?? before.models,
    requests: event.requests || event.type === "snapshot" ? kept([...known.values()]) : before.requests,
  };
}

function kept(requests: Request[]): Request[] {
  requests.sort((a, b) => b.began - a.began);
  let ended = 0;
  return requests.filter((request) => request.ended === undefined || ++ended <= MAX_ENDED);
}

function second(): void {
  if (live.value.connection !== "live") return;
  history.tick(serverTime(), live.value.models);
  history.forget(new Set(live.value.requests.map((request) => request.id)));
  seconds.value += 1;
}
