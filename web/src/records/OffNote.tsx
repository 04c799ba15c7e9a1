// Nothing is recorded here: how it would be.

import { strings } from "../strings";
import { CodeBlock } from "../text/CodeBlock";

export function OffNote() {
  return (
    <>
      <h1>{strings.records.title}</h1>
      <p>{strings.records.off}</p>
      <CodeBlock language="sh" code="nitro serve --record ~/nitro-records" />
    </>
  );
}
