import { strings } from "../strings";

export function ChatView() {
  return <main class="view">{strings.shell.views.chat}</main>;
}
