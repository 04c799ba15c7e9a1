// Times as people read them.

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

/** A point in time, given in seconds since 1970. */
export function moment(seconds: number): string {
  return MOMENT.format(new Date(seconds * 1000));
}

/** As in "12 ms", "3.40 s". */
export function duration(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}
