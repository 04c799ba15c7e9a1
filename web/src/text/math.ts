// Formulas in Markdown: $…$ and \(…\) in a line, $$…$$ and \[…\] as a block. They become <span class="math"> that holds
// the TeX; `typeset` has KaTeX make MathML of it, which browsers draw by themselves, without fonts and styles of KaTeX.

import type { MarkedExtension, TokenizerAndRendererExtension } from "marked";

const INLINE = /^(?:\$(?!\s)((?:\\.|[^\\$\n])+?)(?<!\s)\$(?![0-9])|\\\(([^\n]+?)\\\))/;
const BLOCK = /^(?:\$\$\n?([^$]+?)\n?\$\$|\\\[\n?([^]+?)\n?\\\])(?:\n|$)/;

export const mathExtension: MarkedExtension = {
  extensions: [
    extension("math", "inline", INLINE, /\$|\\\(/, "math"),
    extension("mathBlock", "block", BLOCK, /\n(?:\$\$|\\\[)/, "math block"),
  ],
};
type Level = "inline" | "block";

/** `begin`: where other text has to end, since a formula may follow. */
function extension(name: string, level: Level, rule: RegExp, begin: RegExp, classes: string): TokenizerAndRendererExtension {
  return {
    name,
    level,
    start: (text) => {
      const found = text.search(begin);
      return found < 0 ? undefined : found;
    },
    tokenizer(text) {
      const match = rule.exec(text);
      return match ? { type: name, raw: match[0], tex: (match[1] ?? match[2] ?? "").trim() } : undefined;
    },
    renderer: ({ tex }) => `<span class="${classes}" dir="ltr">${escaped(String(tex))}</span>`,
  };
}

/** Draw the formulas in an element. What TeX does not understand stays as it is. */
export async function typeset(element: HTMLElement): Promise<void> {
  const found = [...element.querySelectorAll<HTMLElement>("span.math:not(:has(math))")];
  if (found.length === 0) return;
  const { default: katex } = await import("katex");
  for (const each of found) {
    const tex = each.textContent ?? "";
    try {
      katex.render(tex, each, { output: "mathml", displayMode: each.classList.contains("block"), trust: false, maxExpand: 200 });
    } catch {
      each.textContent = tex;
    }
  }
}

function escaped(text: string): string {
  return text.replace(/[&<>]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
