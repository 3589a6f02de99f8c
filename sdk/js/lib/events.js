// Alerts. The stage's grant needs `events = true`.

import * as events from "sluice:plugin/events@0.1.0";
import { text, whole } from "./host.js";

/** Raises an alert. */
export function alert(kind, subject, { severity = 4, value = 0, threshold = 0, note = "" } = {}) {
  for (const number of [value, threshold]) {
    if (typeof number !== "number") throw new TypeError("value and threshold are numbers");
  }
  events.emit({ kind: text(kind), severity: whole(severity, 7), subject: text(subject), value, threshold, note: text(note) });
}
