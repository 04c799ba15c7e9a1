// The server's API, as the page calls it: JSON, and streams of server-sent events. It sends the key that the tab keeps;
// where one is needed and missing, a call waits until the person has given it. It knows no view.

import { signal } from "@preact/signals";
import { type ServerEvent, readEvents } from "./sse";
import { strings } from "./strings";

export type { ServerEvent } from "./sse";

/** What the server answered instead of a result. `status` is 0 where it did not answer at all; `retryAfter`, in seconds,
 * is there where it may answer then. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly param: string | null = null,
    readonly code: string | null = null,
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }
}

export interface Options {
  signal?: AbortSignal;
  method?: string;
}

const KEPT = "nitro.key";

/** Whether the person must give a key now: "no", "asked" for the first time, or "wrong" when the last one was refused. */
export const keyState = signal<"no" | "asked" | "wrong">("no");
let waiting: (() => void)[] = [];

/** Keeps the key in this tab, and lets the calls that wait for it go on. */
export function useKey(key: string): void {
  sessionStorage.setItem(KEPT, key);
  keyState.value = "no";
  const calls = waiting;
  waiting = [];
  for (const call of calls) call();
}

/** The JSON at a path of the server, as "/v1/models". Throws ApiError. */
export async function get<T>(path: string, options: Options = {}): Promise<T> {
  return json<T>(await call(path, undefined, options));
}

/** The JSON that answers this body, which is sent as JSON. Throws ApiError. */
export async function post<T>(path: string, body: unknown, options: Options = {}): Promise<T> {
  return json<T>(await call(path, body ?? {}, options));
}

/** The events of a stream: of a GET, or of a POST where there is a `body`. Ends with the stream; throws ApiError, and
 * an AbortError once `options.signal` is aborted. */
export async function* events(path: string, options: Options & { body?: unknown } = {}): AsyncGenerator<ServerEvent> {
  const response = await call(path, options.body, options);
  if (response.body) yield* readEvents(response.body);
}

/** The answer to one request, whose status says that all is well. Throws ApiError. */
export async function call(path: string, body: unknown, options: Options): Promise<Response> {
  for (;;) {
    const key = sessionStorage.getItem(KEPT);
    const response = await send(path, body, key, options);
    if (response.status === 401) {
      await anotherKey(key);
      continue;
    }
    if (!response.ok) throw await errorOf(response);
    return response;
  }
}

async function send(path: string, body: unknown, key: string | null, options: Options): Promise<Response> {
  const headers: Record<string, string> = {};
  if (key) headers["Authorization"] = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(new URL(path.replace(/^\//, ""), document.baseURI), {
      method: options.method ?? (body === undefined ? "GET" : "POST"),
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: options.signal,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, strings.errors.unreachable);
  }
}

/** Waits until the tab has another key than `refused`. */
async function anotherKey(refused: string | null): Promise<void> {
  if (sessionStorage.getItem(KEPT) !== refused) return; // somebody gave it while this call was on its way
  keyState.value = refused === null ? "asked" : "wrong";
  await new Promise<void>((go) => waiting.push(go));
}

async function json<T>(response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError(response.status, strings.errors.noJson(response.status));
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const again = Number.parseFloat(response.headers.get("retry-after") ?? "");
  const useless = response.headers.get("x-should-retry") === "false"; // a day that is used up, say
  const retryAfter = Number.isFinite(again) && !useless ? again : null;
  try {
    const { error } = (await response.json()) as { error: { message: string; param?: string; code?: string } };
    return new ApiError(response.status, error.message, error.param ?? null, error.code ?? null, retryAfter);
  } catch {
    return new ApiError(response.status, strings.errors.noJson(response.status), null, null, retryAfter);
  }
}
