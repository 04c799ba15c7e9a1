// A text of a model, shown as Markdown. While it comes, only its last block changes.

import { memo } from "preact/compat";
import { useLayoutEffect, useRef } from "preact/hooks";
import { CodeBlock } from "./CodeBlock";
import { type Block, blocks } from "./markdown";
import { typeset } from "./math";
import "./markdown.css";

export function Markdown({ text }: { text: string }) {
  return (
    <div class="markdown" dir="auto">
      {blocks(text).map((block, index) => (
        <Piece key={index} block={block} />
      ))}
    </div>
  );
}

const Piece = memo(
  ({ block }: { block: Block }) =>
    block.kind === "code" ? <CodeBlock language={block.language} code={block.code} /> : <Html html={block.html} />,
  (before, after) => before.block.raw === after.block.raw && before.block.kind === after.block.kind,
);

function Html({ html }: { html: string }) {
  const element = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!element.current) return;
    element.current.innerHTML = html; // not by Preact, which does not know what is drawn into it
    void typeset(element.current);
  }, [html]);
  return <div ref={element} dir="auto" />;
}
