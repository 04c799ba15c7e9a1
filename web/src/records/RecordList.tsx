// The list of records, the newest first.

import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../api";
import { strings } from "../strings";
import { OffNote } from "./OffNote";
import { duration, moment } from "./figures";
import { type Page, type Summary, list, remove } from "./records";

const words = strings.records;

export function RecordList() {
  const [page, setPage] = useState<Page | null>(null);
  const [fault, setFault] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);

  const load = async (before: Page | null, signal?: AbortSignal) => {
    setBusy(true);
    try {
      const found = await list(before?.data.at(-1)?.id ?? null, signal);
      setPage({ ...found, data: [...(before?.data ?? []), ...found.data] });
      setFault(null);
    } catch (error) {
      if (error instanceof ApiError) setFault(error);
    }
    setBusy(false);
  };
  const clear = async () => {
    if (!confirm(words.confirmAll)) return;
    try {
      await remove(null);
      await load(null);
    } catch (error) {
      if (error instanceof ApiError) setFault(error);
    }
  };
  useEffect(() => {
    const leaving = new AbortController();
    void load(null, leaving.signal);
    return () => leaving.abort();
  }, []);

  if (fault?.code === "not_recorded") return <OffNote />;
  return (
    <>
      <header class="records-head">
        <h1>{words.title}</h1>
        <button onClick={() => load(null)} disabled={busy}>
          {words.refresh}
        </button>
        <button onClick={clear} disabled={busy || !page?.data.length}>
          {words.removeAll}
        </button>
      </header>
      {fault && (
        <p class="fault" role="alert">
          {fault.message}
        </p>
      )}
      {page && <p class="hint">{words.folder(page.folder)}</p>}
      {page?.data.length === 0 && <p>{words.none}</p>}
      {page && page.data.length > 0 && <Rows records={page.data} />}
      {page?.has_more && (
        <button onClick={() => load(page)} disabled={busy}>
          {words.more}
        </button>
      )}
    </>
  );
}

function Rows({ records }: { records: Summary[] }) {
  return (
    <table>
      <thead>
        <tr>
          {Object.entries(words.columns).map(([key, title]) => (
            <th key={key} class={key} scope="col">
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {records.map((each) => (
          <tr key={each.id} class={each.status === 200 && !each.error ? undefined : "failed"}>
            <td class="when">{moment(each.created)}</td>
            <td class="about">
              <a href={`#records/${encodeURIComponent(each.id)}`} dir="auto">
                {each.about || each.id}
              </a>
              {each.error && <div class="fault">{each.error}</div>}
            </td>
            <td class="path">{each.path}</td>
            <td class="model">{each.model ?? ""}</td>
            <td class="outcome">{outcome(each)}</td>
            <td class="amount">{words.tokens(each.prompt_tokens, each.completion_tokens)}</td>
            <td class="time">{duration(each.seconds)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function outcome(record: Summary): string {
  if (record.status !== 200) return String(record.status);
  return record.ended === "left" ? words.left : [...new Set(record.finish)].join(", ");
}
