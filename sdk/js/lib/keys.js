// Keys that the collector owns. The stage's grant needs `keys = [...]`.

import * as keys from "sluice:plugin/keys@0.1.0";
import { refused, text } from "./host.js";

/** A key of the TOML. It never enters the plugin. */
export class Key {
  #key;

  constructor(name) {
    try {
      this.#key = keys.open(text(name));
    } catch (error) {
      throw refused(error);
    }
  }

  prefixPreserving(_batch, address) {
    try {
      this.#key.prefixPreserving(address.hi.id, address.lo.id);
    } catch (error) {
      throw refused(error, address.name);
    }
  }

  keyedHash(_batch, address) {
    try {
      this.#key.keyedHash(address.hi.id, address.lo.id);
    } catch (error) {
      throw refused(error, address.name);
    }
  }
}
