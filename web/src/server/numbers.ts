// Numbers as a person reads them.

const GIB = 2 ** 30;
const MIB = 2 ** 20;

export const size = (bytes: number): string =>
  bytes >= GIB ? `${(bytes / GIB).toFixed(1)} GiB` : `${Math.round(bytes / MIB)} MiB`;

export const time = (seconds: number): string =>
  seconds < 1 ? `${Math.round(seconds * 1000)} ms` : seconds < 100 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;

export const count = (number: number): string => Math.round(number).toLocaleString("en");

export const percent = (part: number, whole: number): string => `${whole > 0 ? Math.min((100 * part) / whole, 100) : 0}%`;
