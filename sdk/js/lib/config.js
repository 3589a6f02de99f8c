// The stage's `config` table.

/** Something is wrong with the configuration. The text is shown to the operator as it is. */
export class ConfigError extends Error {
  name = "ConfigError";
}

/** The stage's `config` table. A key that nobody asked for by the end of `init` is an error. */
export class Config {
  #known = [];

  constructor(json) {
    this.values = JSON.parse(json, (key, value) => {
      // JSON.parse has rounded it by now, and nobody would notice.
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        throw new ConfigError(`${key} is beyond 2^53 - 1, where JavaScript loses digits: write it as a text`);
      }
      return value;
    });
  }

  expect(...keys) {
    this.#known.push(...keys.filter((key) => !this.#known.includes(key)));
    this.check();
  }

  integer(key, lowest, highest, { default: otherwise, example = lowest } = {}) {
    const value = this.#get(key, otherwise, example);
    if (!Number.isInteger(value) || value < lowest || value > (highest ?? Infinity)) {
      const range = highest === undefined ? `, ${lowest} or more` : ` from ${lowest} to ${highest}`;
      throw new ConfigError(`${key} must be a number${range}`);
    }
    return value;
  }

  text(key, { default: otherwise, oneOf } = {}) {
    const value = this.#get(key, otherwise, JSON.stringify(oneOf?.[0] ?? "..."));
    if (oneOf && !oneOf.includes(value)) throw new ConfigError(`${key} must be one of ${list(oneOf)}`);
    if (typeof value !== "string") throw new ConfigError(`${key} must be a text`);
    return value;
  }

  texts(key, { default: otherwise } = {}) {
    const value = this.#get(key, otherwise, '["..."]');
    if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
      throw new ConfigError(`${key} must be a list of texts`);
    }
    return value;
  }

  flag(key, { default: otherwise = false } = {}) {
    const value = this.#get(key, otherwise, "true");
    if (typeof value !== "boolean") throw new ConfigError(`${key} must be true or false`);
    return value;
  }

  check() {
    for (const key of Object.keys(this.values)) {
      if (!this.#known.includes(key)) {
        const expected = this.#known.length ? `expected ${list(this.#known)}` : "there are none";
        throw new ConfigError(`unknown key \`${key}\`, ${expected}`);
      }
    }
  }

  #get(key, otherwise, example) {
    if (!this.#known.includes(key)) this.#known.push(key);
    if (Object.hasOwn(this.values, key)) return this.values[key];
    if (otherwise === undefined) {
      throw new ConfigError(`${key} is missing: add config = { ${key} = ${example} } to the stage`);
    }
    return otherwise;
  }
}

function list(names) {
  const quoted = names.map((name) => `\`${name}\``);
  return quoted.length === 1 ? quoted[0] : `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}`;
}
