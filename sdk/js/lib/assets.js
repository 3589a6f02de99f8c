// Read-only files named in the TOML. The stage's grant needs `assets = [...]`.

import * as assets from "sluice:plugin/assets@0.1.0";
import { refused, text } from "./host.js";

/** The whole file, as it was when the stage was loaded. */
export function read(name) {
  try {
    return assets.read(text(name));
  } catch (error) {
    throw refused(error);
  }
}
