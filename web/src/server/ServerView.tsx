import { strings } from "../strings";

export function ServerView() {
  return <main class="view">{strings.shell.views.server}</main>;
}
