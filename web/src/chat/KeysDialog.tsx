// The keys that the chat knows.

import { useEffect, useRef } from "preact/hooks";
import { strings } from "../strings";

export function KeysDialog({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="keys-title" onClose={onClose}>
      <h2 id="keys-title">{strings.chat.keys.title}</h2>
      <table class="keys">
        <tbody>
          {strings.chat.keys.rows.map(([key, what]) => (
            <tr key={key}>
              <th scope="row">
                <kbd>{key}</kbd>
              </th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <form method="dialog">
        <button class="primary">{strings.shell.close}</button>
      </form>
    </dialog>
  );
}
