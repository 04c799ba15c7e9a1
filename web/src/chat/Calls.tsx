// The functions that an answer calls. A person gives what they return, and the model goes on.

import { useRef } from "preact/hooks";
import { Icon } from "../Icon";
import { strings } from "../strings";
import { giveResults } from "./answers";
import type { Call, Message } from "./conversation";
import { current } from "./desk";

const words = strings.chat.calls;

export function Calls({ message, answerable }: { message: Message; answerable: boolean }) {
  const form = useRef<HTMLFormElement>(null);
  const send = (event: Event) => {
    event.preventDefault();
    const fields = [...(form.current?.querySelectorAll("textarea") ?? [])];
    giveResults(current.value, message, fields.map((each) => each.value));
  };
  return (
    <form ref={form} class="calls" onSubmit={send}>
      {message.calls?.map((call) => (
        <CallBox key={call.id} call={call} answerable={answerable} />
      ))}
      {answerable && (
        <button class="primary">
          <Icon name="go" /> {words.send}
        </button>
      )}
    </form>
  );
}

function CallBox({ call, answerable }: { call: Call; answerable: boolean }) {
  return (
    <fieldset class="call">
      <legend>{words.title(call.name)}</legend>
      <pre dir="ltr" tabIndex={0} role="region" aria-label={words.arguments}>
        {indented(call.arguments)}
      </pre>
      {answerable && (
        <label>
          {words.result}
          <textarea rows={2} dir="auto" placeholder={words.resultHint} />
        </label>
      )}
    </fieldset>
  );
}

function indented(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json; // it is still coming
  }
}
