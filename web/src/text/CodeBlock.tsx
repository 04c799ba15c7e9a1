// A block of code: its language, a button that copies it, and its parts in colours once those are loaded.

import DOMPurify from "dompurify";
import { useEffect, useState } from "preact/hooks";
import { CopyButton } from "../CopyButton";
import { strings } from "../strings";

export function CodeBlock({ language, code }: { language: string; code: string }) {
  const [html, setHtml] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    void import("./highlighting").then(({ highlighted }) => {
      const found = highlighted(code, language);
      if (current) setHtml(found === null ? null : DOMPurify.sanitize(found, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] }));
    });
    return () => {
      current = false;
    };
  }, [code, language]);
  const name = language ? strings.chat.message.codeIn(language) : strings.chat.message.code;
  return (
    <figure class="code" dir="ltr">
      <figcaption>
        <span>{language}</span>
        <CopyButton text={code} />
      </figcaption>
      <pre tabIndex={0} aria-label={name} role="region">
        {html === null ? <code>{code}</code> : <code dangerouslySetInnerHTML={{ __html: html }} />}
      </pre>
    </figure>
  );
}
