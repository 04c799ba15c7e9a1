// Markdown of a model, as safe HTML. A model may say anything: its HTML stays text, links lead to web pages only and
// pictures are links, so that nothing is fetched until a person follows one. DOMPurify checks the result once more.

import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";
import { mathExtension } from "./math";

/** A piece of a text: code, or HTML that is safe. `raw` is its Markdown. */
export type Block = { kind: "code"; raw: string; language: string; code: string } | { kind: "html"; raw: string; html: string };

const SAFE_LINK = /^(https?:|mailto:)/i;
const marked = new Marked({ gfm: true, breaks: true }, mathExtension, {
  renderer: {
    html: ({ text }) => escaped(text),
    link({ href, tokens, raw }) {
      if (!SAFE_LINK.test(href.trim())) return escaped(raw);
      return `<a href="${escaped(href.trim())}" target="_blank" rel="noopener noreferrer">${this.parser.parseInline(tokens)}</a>`;
    },
    image({ href, text, raw }) {
      if (!SAFE_LINK.test(href.trim())) return escaped(raw);
      return `<a href="${escaped(href.trim())}" target="_blank" rel="noopener noreferrer">${escaped(text || href)}</a>`;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});
const PURIFY = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "class", "dir", "href", "rel", "start", "target"],
  ALLOW_DATA_ATTR: false,
}; // prettier-ignore

/** The pieces of a text, in their order. */
export function blocks(text: string): Block[] {
  const tokens = marked.lexer(text);
  return tokens.filter((each) => each.type !== "space" && each.type !== "def").map(blockOf);
}

function blockOf(token: Token): Block {
  if (token.type !== "code") return { kind: "html", raw: token.raw, html: safe(marked.parser([token])) };
  const { raw, text, lang } = token as Tokens.Code;
  return { kind: "code", raw, code: text, language: (lang ?? "").trim().split(/\s/, 1)[0]?.toLowerCase() ?? "" };
}

function safe(html: string): string {
  return DOMPurify.sanitize(html, PURIFY);
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
