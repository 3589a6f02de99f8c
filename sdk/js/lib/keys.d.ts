import type { Address, Batch } from "./sluice.js";

/** A key of the TOML, which never enters the plugin. Needs `keys = ["..."]` in the stage's grant. */
export declare class Key {
  /** Opens the key called `name`; throws what is wrong. */
  constructor(name: string);
  /** Replaces an address column by its prefix-preserving anonymisation (Crypto-PAn); IPv4 stays IPv4. */
  prefixPreserving(batch: Batch, address: Address): void;
  /** Replaces an address column by the first bits of a keyed hash: 32 for IPv4, which stays IPv4, 128 for IPv6. */
  keyedHash(batch: Batch, address: Address): void;
}
