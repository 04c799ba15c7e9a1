// The dialog that asks for the server's key while calls wait for it.

import { useEffect, useRef } from "preact/hooks";
import { keyState, useKey } from "./api";
import { strings } from "./strings";

export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const state = keyState.value;
  useEffect(() => {
    if (state === "no") dialog.current?.close();
    else if (!dialog.current?.open) dialog.current?.showModal();
  }, [state]);
  const send = (event: Event) => {
    event.preventDefault();
    const key = input.current?.value.trim();
    if (key) useKey(key);
  };
  return (
    <dialog ref={dialog} class="key-dialog" aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form onSubmit={send}>
        <h2 id="key-title">{strings.key.title}</h2>
        <p>{strings.key.explanation}</p>
        <label>
          {strings.key.label}
          <input ref={input} type="password" autocomplete="off" required aria-describedby="key-wrong" />
        </label>
        <p id="key-wrong" role="alert" class="fault">
          {state === "wrong" ? strings.key.wrong : ""}
        </p>
        <button class="primary">{strings.key.send}</button>
      </form>
    </dialog>
  );
}
