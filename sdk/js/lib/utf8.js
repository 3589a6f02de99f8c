// Text as bytes and back: QuickJS has no TextEncoder.

/** The UTF-8 bytes of `text`. */
export function encode(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (letter) => letter.charCodeAt(0));
}

/** The text of UTF-8 bytes; throws if they are none. */
export function decode(bytes) {
  let letters = "";
  for (const byte of bytes) letters += String.fromCharCode(byte);
  return decodeURIComponent(escape(letters));
}
