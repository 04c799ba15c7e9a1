// Records as the server tells them. Knows no view.

import { call, get } from "../api";

/** A record in the list. Times are seconds, `created` Unix time; see GET /v1/records. */
export interface Summary {
  id: string;
  created: number;
  path: string;
  model: string | null;
  status: number;
  stream: boolean;
  ended: "whole" | "left";
  deterministic: boolean;
  seconds: number;
  first_seconds: number | null;
  prompt_tokens: number | null;
  cached_tokens: number | null;
  completion_tokens: number | null;
  finish: string[];
  error: string | null;
  about: string;
  bytes: number;
}

export interface Page {
  data: Summary[];
  has_more: boolean;
  folder: string;
}

/** What a reply says, whatever its protocol. */
export interface Answer {
  choices?: { text?: string; reasoning?: string; calls?: { name: string; arguments?: string }[]; finish?: string }[];
  error?: string;
  vectors?: number[][];
}

export interface Exchange {
  id: string;
  at: number;
  path: string;
  request?: unknown;
  request_text?: string;
  history?: unknown;
  status: number;
  stream?: [number, string][];
  ended?: "left";
  first_seconds?: number;
  seconds: number;
  served?: {
    model?: string;
    adapter?: string;
    fingerprint?: string;
    template?: string;
    queue_seconds?: number;
    first_token_seconds?: number;
    prompt_tokens?: number;
    cached_tokens?: number;
    completion_tokens?: number;
    error?: string;
  };
}

export interface RecordFile {
  file: { nitro: string };
  template: { digest: string; text: string } | null;
  exchange: Exchange;
  answer: Answer;
}

/** The newest records, or those behind one. */
export function list(after: string | null, signal?: AbortSignal): Promise<Page> {
  const behind = after === null ? "" : `&after=${encodeURIComponent(after)}`;
  return get<Page>(`/v1/records?limit=50${behind}`, { signal });
}

/** One of them, whole. */
export function read(id: string, signal?: AbortSignal): Promise<RecordFile> {
  return get<RecordFile>(`/v1/records/${encodeURIComponent(id)}`, { signal });
}

/** Its file, as nitro replay takes it. It stays as the server wrote it: numbers would lose digits here. */
export async function file(id: string): Promise<string> {
  const response = await call(`/v1/records/${encodeURIComponent(id)}/file`, undefined, {});
  return response.text();
}

/** Delete one, or all. */
export async function remove(id: string | null): Promise<void> {
  await call(id === null ? "/v1/records" : `/v1/records/${encodeURIComponent(id)}`, undefined, { method: "DELETE" });
}
