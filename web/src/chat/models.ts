// The models that the server offers, in its own words, asked for again while one of them is not well.

import { computed, signal } from "@preact/signals";
import { ApiError, get } from "../api";

/** An entry of `GET /v1/models`, as far as the page reads it. */
export interface Model {
  id: string;
  state: string;
  reason: string | null;
  loaded: boolean;
  engine: string | null;
  context_length: number | null;
  capabilities: Record<string, boolean>;
  default_system_message: string | null;
  default_sampling: Record<string, number>;
}

const CALM = 20_000; // milliseconds between two looks
const HASTY = 1_000;
const PASSING = new Set(["loading", "restarting"]); // states that end by themselves

/** null: not known yet. */
export const models = signal<Model[] | null>(null);
/** Why they are not known. */
export const unknown = signal<ApiError | null>(null);
/** Those that may chat: what a model can do is only known once it is loaded. */
export const chatting = computed(() => (models.value ?? []).filter((each) => !each.loaded || each.capabilities.chat));

let timer: ReturnType<typeof setTimeout> | undefined;

/** Ask now, and from then on by itself. */
export async function look(): Promise<void> {
  clearTimeout(timer);
  try {
    models.value = (await get<{ data: Model[] }>("/v1/models")).data;
    unknown.value = null;
  } catch (error) {
    unknown.value = error instanceof ApiError ? error : new ApiError(0, String(error));
  }
  clearTimeout(timer);
  const restless = unknown.value || models.value?.some((each) => PASSING.has(each.state));
  timer = setTimeout(() => (document.hidden ? undefined : void look()), restless ? HASTY : CALM);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && models.value) void look();
});

/** The model of this name; for "" one that may chat, best one that is loaded. */
export function named(name: string): Model | undefined {
  if (name) return models.value?.find((each) => each.id === name);
  return chatting.value.find((each) => each.loaded) ?? chatting.value[0];
}
