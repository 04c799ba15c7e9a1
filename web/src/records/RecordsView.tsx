import { strings } from "../strings";

export function RecordsView() {
  return <main class="view">{strings.shell.views.records}</main>;
}
