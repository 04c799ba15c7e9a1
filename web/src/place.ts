// Where a person is on the page: a view, and a place in it, from the address' hash: #chat, #server, #records/abc.

import { signal } from "@preact/signals";

export type View = "chat" | "server" | "records";
export const VIEWS: readonly View[] = ["chat", "server", "records"];

export interface Place {
  view: View;
  /** What follows the view and a slash, decoded; "" where nothing does. */
  rest: string;
}

export const place = signal<Place>(read());
addEventListener("hashchange", () => {
  const there = read();
  if (there.view !== place.value.view || there.rest !== place.value.rest) place.value = there;
});

/** Go to a view, and to a place in it. */
export function go(view: View, rest = ""): void {
  location.hash = rest ? `${view}/${encodeURIComponent(rest)}` : view;
  place.value = read(); // now, and not when the event comes
}

function read(): Place {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const view = VIEWS.find((each) => each === name) ?? "chat";
  return { view, rest: decode(rest.join("/")) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
