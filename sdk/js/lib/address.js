// Addresses as text and as a number of 128 bits, IPv4 as `::ffff:a.b.c.d`.

const V4 = 0xffffn << 32n;

/** The number of the address `text`. */
export function parseAddress(text) {
  const refuse = () => {
    throw new RangeError(`\`${text}\` is no address`);
  };
  const v4 = (part) => {
    const octets = part.split(".");
    const isGood = octets.length === 4 && octets.every((octet) => /^\d{1,3}$/.test(octet) && Number(octet) < 256);
    return isGood ? octets.reduce((value, octet) => (value << 8n) | BigInt(octet), 0n) : refuse();
  };
  if (!text.includes(":")) return V4 | v4(text);
  let groups = text;
  const tail = text.slice(text.lastIndexOf(":") + 1);
  if (tail.includes(".")) {
    const value = v4(tail);
    groups = text.slice(0, -tail.length) + `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
  }
  const halves = groups.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const missing = 8 - halves.flat().length;
  if (halves.length > 2 || (halves.length === 1 ? missing !== 0 : missing < 1)) refuse();
  const all = halves.length === 2 ? [...halves[0], ...Array(missing).fill("0"), ...halves[1]] : halves[0];
  if (!all.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) refuse();
  return all.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

/** The number and length of a prefix, or of one address; bits beyond the length are 0. */
export function parsePrefix(text) {
  const [address, length, more] = text.split("/");
  const first = address.includes(":") ? 0 : 96;
  const bits = length === undefined ? 128 : first + Number(length);
  if (more !== undefined || (length !== undefined && !/^\d{1,3}$/.test(length)) || bits > 128) {
    throw new RangeError(`\`${text}\` is no prefix`);
  }
  const host = BigInt(128 - bits);
  return { value: (parseAddress(address) >> host) << host, bits };
}

/** The address of two halves as text (RFC 5952), `""` for none. */
export function formatAddress(hi, lo) {
  if (hi === 0n && lo === 0n) return "";
  if (hi === 0n && lo >> 32n === 0xffffn) {
    const v4 = Number(lo & 0xffffffffn);
    return [v4 >>> 24, (v4 >>> 16) & 255, (v4 >>> 8) & 255, v4 & 255].join(".");
  }
  const groups = [hi, lo].flatMap((half) => [48n, 32n, 16n, 0n].map((shift) => ((half >> shift) & 0xffffn).toString(16)));
  let [best, length] = [-1, 1];
  for (let from = 0, to = 0; from < 8; from = to + 1) {
    for (to = from; groups[to] === "0"; to++);
    if (to - from > length) [best, length] = [from, to - from];
  }
  if (best < 0) return groups.join(":");
  return `${groups.slice(0, best).join(":")}::${groups.slice(best + length).join(":")}`;
}
