// The requests that the server has recorded: the list, or one of them (#records/ID).

import { place } from "../place";
import { RecordDetail } from "./RecordDetail";
import { RecordList } from "./RecordList";
import "./records.css";

export function RecordsView() {
  const id = place.value.rest;
  return <main class="view records">{id ? <RecordDetail key={id} id={id} /> : <RecordList />}</main>;
}
