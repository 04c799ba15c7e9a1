// What the server measured of an answer, in a line below it.

import { strings } from "../strings";
import type { Message } from "./conversation";

const words = strings.chat.figures;

export function FiguresLine({ message }: { message: Message }) {
  const { figures, seed } = message;
  const told = [
    figures && words.tokens(figures.tokens),
    figures && figures.perSecond > 0 && words.speed(figures.perSecond.toFixed(figures.perSecond < 10 ? 1 : 0)),
    figures && words.first(figures.first.toFixed(figures.first < 10 ? 2 : 1)),
    figures && figures.cached > 0 && words.cached(figures.cached, figures.prompt),
    seed !== undefined && words.seed(seed),
  ].filter(Boolean);
  return told.length ? (
    <span class="figures" aria-label={words.label} role="note">
      {told.join(" · ")}
    </span>
  ) : null;
}
