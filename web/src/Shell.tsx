// What is around every view: the name, the way to the other views, and the dialog that asks for a key.

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { KeyDialog } from "./KeyDialog";
import { ThemeButton } from "./ThemeButton";
import { type View, VIEWS, place } from "./place";
import { strings } from "./strings";

const LOADERS: Record<View, () => Promise<ComponentType>> = {
  chat: async () => (await import("./chat/ChatView")).ChatView,
  server: async () => (await import("./server/ServerView")).ServerView,
  records: async () => (await import("./records/RecordsView")).RecordsView,
};

export function Shell() {
  const view = place.value.view;
  return (
    <div class="shell">
      <header class="bar">
        <a class="name" href="#chat">
          {strings.shell.name}
        </a>
        <nav aria-label={strings.shell.navigation}>
          {VIEWS.map((each) => (
            <a key={each} href={`#${each}`} aria-current={each === view ? "page" : undefined}>
              {strings.shell.views[each]}
            </a>
          ))}
        </nav>
        <ThemeButton />
      </header>
      <LazyView key={view} view={view} />
      <KeyDialog />
    </div>
  );
}

function LazyView({ view }: { view: View }) {
  const [Loaded, setLoaded] = useState<ComponentType | null>(null);
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    LOADERS[view]().then(
      (component) => setLoaded(() => component),
      () => setBroken(true),
    );
  }, [view]);
  if (Loaded) return <Loaded />;
  return <main class="waiting">{broken ? strings.shell.broken : strings.shell.loading}</main>;
}
