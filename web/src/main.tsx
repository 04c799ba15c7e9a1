// The page begins here.

import { render } from "preact";
import { Shell } from "./Shell";
import { applyTheme } from "./ThemeButton";
import "./style.css";

applyTheme();
const root = document.getElementById("page");
if (root) render(<Shell />, root);
