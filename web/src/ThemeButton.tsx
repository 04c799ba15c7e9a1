// Light, dark, or as the system has it. The choice is kept in this browser.

import { useState } from "preact/hooks";
import { IconButton } from "./IconButton";
import { strings } from "./strings";

const KEPT = "nitro.theme";
const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

/** Show the page in the colours that were chosen before. */
export function applyTheme(theme: Theme = read()): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function ThemeButton() {
  const [theme, setTheme] = useState(read);
  const next = () => {
    const chosen = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
    localStorage.setItem(KEPT, chosen);
    applyTheme(chosen);
    setTheme(chosen);
  };
  return <IconButton icon="theme" label={strings.shell.theme[theme]} onClick={next} />;
}

function read(): Theme {
  return THEMES.find((each) => each === localStorage.getItem(KEPT)) ?? "auto";
}
