// The page begins here.

import { render } from "preact";
import { Shell } from "./Shell";
import "./style.css";

const root = document.getElementById("page");
if (root) render(<Shell />, root);
