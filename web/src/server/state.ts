// What the server tells of itself at /v1/server/events: nitro/service/live/state.py describes each field. Times are
// seconds, sizes bytes.

export interface Slot {
  slot: number;
  held: number;
  request?: string;
  prompt?: number;
  cached?: number;
  offloaded?: boolean;
}

export interface Counts {
  generated: number;
  computed: number;
  cached: number;
}

export interface Model {
  id: string;
  state: string;
  reason: string | null;
  bytes: number;
  loaded: boolean;
  loading: { read: number; total: number } | null;
  engine: string | null;
  device: string | null;
  context: number | null;
  parallel: number;
  running: number;
  waiting: number;
  inputs: number;
  kv_used: number;
  kv_tokens: number;
  counts: Counts;
  slots: Slot[];
}

export interface Request {
  id: string;
  route: string;
  model: string;
  phase: "reading" | "queued" | "prompt" | "answer" | "done" | "failed" | "left";
  began: number;
  accepted?: number;
  started?: number;
  first?: number;
  last?: number;
  ended?: number;
  spans?: { channel: "reasoning" | "content" | "call"; since: number }[];
  prompt_tokens?: number;
  cached_tokens?: number;
  completion_tokens?: number;
  inputs?: number;
  finish?: string[];
  reason?: string;
}

export interface LiveEvent {
  type: "snapshot" | "change";
  time: number;
  version?: string;
  memory?: number;
  models?: Model[];
  requests?: Request[];
}
