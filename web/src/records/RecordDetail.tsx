// One record: what was asked, what was answered, how long it took; to take along, or to delete.

import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../api";
import { download } from "../chat/transfer";
import { go } from "../place";
import { strings } from "../strings";
import { CodeBlock } from "../text/CodeBlock";
import { duration, moment } from "./figures";
import { type Answer, type Exchange, type RecordFile, file, read, remove } from "./records";

const words = strings.records;

export function RecordDetail({ id }: { id: string }) {
  const [record, setRecord] = useState<RecordFile | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const told = (work: () => Promise<unknown>) => async () => {
    try {
      await work();
    } catch (error) {
      if (error instanceof ApiError) setFault(error.message);
    }
  };
  useEffect(() => {
    const leaving = new AbortController();
    void told(async () => setRecord(await read(id, leaving.signal)))();
    return () => leaving.abort();
  }, [id]);
  const name = `${id}.jsonl`;
  const save = told(async () => download(name, await file(id)));
  const forget = told(async () => {
    await remove(id);
    go("records");
  });
  return (
    <>
      <header class="records-head">
        <a href="#records">{words.back}</a>
        <h1>{id}</h1>
        <button class="primary" onClick={save} disabled={!record}>
          {words.download}
        </button>
        <button onClick={forget} disabled={!record}>
          {words.remove}
        </button>
      </header>
      {fault && (
        <p class="fault" role="alert">
          {fault}
        </p>
      )}
      {record && <Facts record={record} />}
      {record && <Asked exchange={record.exchange} />}
      {record && <Answered answer={record.answer} />}
      {record && (
        <section>
          <h2>{words.again}</h2>
          <p class="hint">{words.againHint}</p>
          <CodeBlock language="sh" code={`nitro replay ${name} --url ${new URL("v1", document.baseURI).href}\nnitro redact ${name} harmless.jsonl`} />
        </section>
      )}
    </>
  );
}

function Facts({ record }: { record: RecordFile }) {
  const { exchange } = record;
  const served = exchange.served ?? {};
  const facts: [string, string | undefined][] = [
    [words.facts.when, moment(exchange.at)],
    [words.facts.path, exchange.path],
    [words.facts.status, exchange.ended === "left" ? `${exchange.status}, ${words.left}` : String(exchange.status)],
    [words.facts.model, [served.model, served.adapter].filter(Boolean).join(", ")],
    [words.facts.fingerprint, served.fingerprint],
    [words.facts.nitro, record.file.nitro],
    [words.facts.queue, seconds(served.queue_seconds)],
    [words.facts.firstToken, seconds(served.first_token_seconds)],
    [words.facts.time, duration(exchange.seconds)],
    [words.facts.tokens, words.tokens(served.prompt_tokens ?? null, served.completion_tokens ?? null)],
    [words.facts.cached, served.cached_tokens?.toString()],
    [words.facts.error, served.error],
  ];
  return (
    <dl>
      {facts.map(([name, value]) => value && <Fact key={name} name={name} value={value} />)}
    </dl>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd dir="auto">{value}</dd>
    </div>
  );
}

function Asked({ exchange }: { exchange: Exchange }) {
  const text = exchange.request_text ?? JSON.stringify(exchange.request, null, 2);
  return (
    <section>
      <h2>{words.request}</h2>
      <CodeBlock language={exchange.request_text === undefined ? "json" : ""} code={shortened(text)} />
      {exchange.history !== undefined && (
        <details>
          <summary>{words.history}</summary>
          <CodeBlock language="json" code={shortened(JSON.stringify(exchange.history, null, 2))} />
        </details>
      )}
    </section>
  );
}

function Answered({ answer }: { answer: Answer }) {
  return (
    <section>
      <h2>{words.answer}</h2>
      {answer.error && <p class="fault">{answer.error}</p>}
      {(answer.choices ?? []).map((choice, index) => (
        <div key={index} class="choice">
          {choice.reasoning && (
            <details>
              <summary>{strings.chat.message.reasoning}</summary>
              <pre dir="auto">{choice.reasoning}</pre>
            </details>
          )}
          {choice.text && <pre dir="auto">{choice.text}</pre>}
          {(choice.calls ?? []).map((call, number) => (
            <CodeBlock key={number} language="json" code={`${call.name} ${call.arguments ?? ""}`} />
          ))}
          {choice.finish && <p class="hint">{words.finish(choice.finish)}</p>}
        </div>
      ))}
      {answer.vectors && <p>{words.vectors(answer.vectors.length, answer.vectors[0]?.length ?? 0)}</p>}
    </section>
  );
}

function seconds(value: number | undefined): string | undefined {
  return value === undefined ? undefined : duration(value);
}

/** Files inside a request would take long to show. */
function shortened(text: string): string {
  return text.replace(/[A-Za-z0-9+/_-]{400,}={0,2}/g, (found) => `${found.slice(0, 40)}… (${found.length})`);
}
