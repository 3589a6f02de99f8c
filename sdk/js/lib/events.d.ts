/** Raises an alert. Those of a `process` that fails are not raised. Needs `events = true` in the stage's grant. */
export declare function alert(
  /** What it is, from a closed set, e.g. `dos-raised`. */
  kind: string,
  /** What it is about, e.g. an address. */
  subject: string,
  options?: {
    /** 0 emergency to 7 debug, as in syslog. Default 4. */
    severity?: number;
    /** The measured value. */
    value?: number;
    /** What it was compared with. */
    threshold?: number;
    /** For people, with the unit. */
    note?: string;
  },
): void;
