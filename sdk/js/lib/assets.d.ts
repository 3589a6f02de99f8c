/** A file named in the TOML, as it was when the stage was loaded; throws what is wrong. Needs `assets = ["..."]` in the grant. */
export declare function read(name: string): Uint8Array;
