// The last minutes as columns of numbers, one of each for every second: what the charts draw.

import type { Model, Request } from "./state";

export const LENGTH = 300; // seconds

export class History {
  /** Seconds of Unix time, ascending. */
  readonly times: number[] = [];
  /** Tokens of answers, and of prompts, in each second. */
  readonly generated: number[] = [];
  readonly computed: number[] = [];
  /** The time to first token of the requests whose first token came then: the longest; null where there were none. */
  readonly first: (number | null)[] = [];
  private readonly before = new Map<string, { generated: number; computed: number }>();
  private readonly seen = new Set<string>();
  private firsts: number[] = [];
  private isFirst = true;

  /** A request has come or gone on. Each is counted once. */
  note(request: Request): void {
    if (request.first === undefined || this.seen.has(request.id)) return;
    this.seen.add(request.id);
    if (!this.isFirst) this.firsts.push(request.first); // what came before anybody looked has no second here
  }

  /** A second is over. `models`: as they are at its end. */
  tick(now: number, models: readonly Model[]): void {
    let generated = 0;
    let computed = 0;
    for (const { id, counts } of models) {
      const before = this.before.get(id) ?? counts;
      // an engine that was started anew counts from 0
      generated += counts.generated >= before.generated ? counts.generated - before.generated : counts.generated;
      computed += counts.computed >= before.computed ? counts.computed - before.computed : counts.computed;
      this.before.set(id, { ...counts });
    }
    this.times.push(now);
    this.generated.push(generated);
    this.computed.push(computed);
    this.first.push(this.firsts.length ? Math.max(...this.firsts) : null);
    this.firsts = [];
    this.isFirst = false;
    for (const column of [this.times, this.generated, this.computed, this.first]) {
      if (column.length > LENGTH) column.shift();
    }
  }

  /** Requests that are told of no more need not be remembered. */
  forget(known: ReadonlySet<string>): void {
    for (const id of this.seen) if (!known.has(id)) this.seen.delete(id);
  }
}
