// Reads the `config` table: JSON that the collector made of TOML, so one flat table; what is nested is handed on as
// text.

export enum Kind { NUMBER, STRING, BOOLEAN, OTHER }

const QUOTE: i32 = 0x22;
const BACKSLASH: i32 = 0x5c;

/** The table, key by key: `while (config.next()) { ... }`. */
export class Config {
  /** The key that `next` found. */
  key: string = "";
  /** Its value: a string as it is, all else as JSON text. */
  value: string = "";
  /** `Kind.OTHER`: a list, a table. */
  kind: Kind = Kind.OTHER;
  private at: i32 = 0;
  private begun: bool = false;

  constructor(private json: string) {}

  /** Goes to the next key; false after the last. */
  next(): bool {
    this.skipSpace();
    if (!this.begun) {
      this.begun = true;
      this.expect(0x7b); // {
      this.skipSpace();
      if (this.char() == 0x7d) return false; // }
    } else if (this.char() == 0x7d) {
      return false;
    } else {
      this.expect(0x2c); // ,
      this.skipSpace();
    }
    this.key = this.string();
    this.skipSpace();
    this.expect(0x3a); // :
    this.skipSpace();
    const start = this.at;
    const first = this.char();
    if (first == QUOTE) {
      this.kind = Kind.STRING;
      this.value = this.string();
      return true;
    }
    if (first == 0x7b || first == 0x5b) this.skipNested();
    else while (!isEnd(this.char())) this.at++;
    this.value = this.json.substring(start, this.at);
    if (this.value == "true" || this.value == "false") this.kind = Kind.BOOLEAN;
    else this.kind = first == 0x2d || (first >= 0x30 && first <= 0x39) ? Kind.NUMBER : Kind.OTHER;
    return true;
  }

  /** Whether the value is a whole number from `least` to `most`; exact to 64 bits. */
  isInteger(least: u64 = 0, most: u64 = u64.MAX_VALUE): bool {
    if (this.kind != Kind.NUMBER) return false;
    let number: u64 = 0;
    for (let i = 0; i < this.value.length; i++) {
      const digit = <u32>this.value.charCodeAt(i) - 0x30;
      if (digit > 9) return false;
      if (number > (u64.MAX_VALUE - digit) / 10) return false;
      number = number * 10 + digit;
    }
    return number >= least && number <= most;
  }

  /** The whole number that `isInteger` found. */
  integer(): u64 {
    return this.isInteger() ? U64.parseInt(this.value, 10) : 0;
  }

  /** Any number as a float; not a number if it is none. */
  float(): f64 {
    return this.kind == Kind.NUMBER ? F64.parseFloat(this.value) : NaN;
  }

  private char(): i32 {
    return this.at < this.json.length ? this.json.charCodeAt(this.at) : 0;
  }

  private skipSpace(): void {
    while (this.char() == 0x20 || (this.char() >= 0x09 && this.char() <= 0x0d)) this.at++;
  }

  private expect(char: i32): void {
    // The collector writes JSON and nothing else.
    if (this.char() != char) throw new Error("config is not a table in JSON");
    this.at++;
  }

  private string(): string {
    this.expect(QUOTE);
    let text = "";
    let from = this.at;
    while (this.char() != QUOTE) {
      if (this.char() != BACKSLASH) {
        if (this.char() < 0x20) throw new Error("config is not a table in JSON");
        this.at++;
        continue;
      }
      text += this.json.substring(from, this.at);
      text += String.fromCharCode(this.escape());
      from = this.at;
    }
    text += this.json.substring(from, this.at);
    this.at++;
    return text;
  }

  /** The character behind a backslash; half of one if it takes two escapes. */
  private escape(): i32 {
    this.at++;
    const char = this.char();
    this.at++;
    switch (char) {
      case 0x62: return 0x08; // b
      case 0x66: return 0x0c; // f
      case 0x6e: return 0x0a; // n
      case 0x72: return 0x0d; // r
      case 0x74: return 0x09; // t
      case 0x75: // u
        this.at += 4;
        return I32.parseInt(this.json.substring(this.at - 4, this.at), 16);
      default: return char;
    }
  }

  private skipNested(): void {
    let depth = 0;
    do {
      const char = this.char();
      if (char == QUOTE) {
        this.string();
        continue;
      }
      if (char == 0) throw new Error("config is not a table in JSON");
      if (char == 0x7b || char == 0x5b) depth++;
      if (char == 0x7d || char == 0x5d) depth--;
      this.at++;
    } while (depth);
  }
}

function isEnd(char: i32): bool {
  return char == 0x2c || char == 0x7d || char <= 0x20;
}
