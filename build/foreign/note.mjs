// "What people say".

import { fromBase64, toBase32, toHex, utf8, concat, equal } from './bytes.mjs';
import { need } from './checks.mjs';
import { isCanonical, isSmall, verify } from './ed25519.mjs';
import { digest } from './webcrypto.mjs';

const SOURCES = ['agent:note', 'agent:attach'];
const HASHED = 16n; // flag 4
const MAX_NUMBER = 2 ** 53 - 1;
const NAMESPACE = 'edgechain-note';
const KIND = 'ssh-ed25519';

export const isNote = entry => SOURCES.includes(entry.source);

const sound = (condition, why) => need(condition, 'note', why);

// Where each signature is checked.
const EACH = { known: () => false, mayCheck: () => true };

// How a person's entry of a chain stands, { standing, signer, key, statement }, or Failed, its check 'note': it is bad. `checks`
// says of a statement and its signature whether they are known to be good, and whether one more may be checked.
export async function judgeNote(entry, chain, trust, checks = EACH) {
  const note = await readNote(entry);
  try {
    return await judgeRead(note, chain, trust, checks);
  } catch (e) {
    throw Object.assign(e, { note }); // what it says can be shown, and is nobody's word
  }
}

async function judgeRead(note, chain, trust, checks) {
  const statement = statementOf(note, chain);
  const { entries, head } = note;
  if (note.signature === undefined) return { standing: 'unsigned', statement, entries, head, note };
  const signature = readSignature(note.signature);
  const person = trust.persons.find(p => equal(p.key, signature.key));
  const found = { key: toHex(signature.key), statement, entries, head, note };
  if (person === undefined) return { standing: 'unknown key', ...found };
  const said = `${statement}\0${note.signature}`;
  if (!checks.known(said)) {
    if (!checks.mayCheck()) return { standing: 'unchecked', ...found };
    sound(await isOver(signature, utf8(statement)), 'the signature of a note');
  }
  return { standing: 'signed', signer: person.name, said, ...found };
}

// The members of an entry's payload that are known, each checked by itself.
export async function readNote(entry) {
  sound(!(entry.flags & HASHED), 'the payload of a note is not there');
  let isUtf8 = true;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(entry.payload);
  } catch {
    isUtf8 = false;
  }
  sound(isUtf8, 'a note is UTF-8');
  const m = new Members(new TextDecoder('utf-8', { ignoreBOM: true }).decode(entry.payload));
  const note = {
    attached: entry.source === 'agent:attach',
    when: m.needed('when'), who: m.needed('who'), entries: m.stretches('entries'), heights: m.stretches('heights'),
    head: m.head('head'),
    reason: m.line('reason'), meaning: m.line('meaning'), text: m.lines('text'), signature: m.signature('signature'),
  };
  sound(/^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/.test(note.when), 'when is a time like 2026-11-28T20:41:48Z');
  if (note.head !== undefined && note.heights !== undefined) {
    sound(note.head.height >= lastOf(note.heights), 'head is not below the last of heights');
  }
  if (note.attached) {
    note.name = m.needed('name');
    note.mediaType = m.needed('media_type');
    note.size = m.number('size');
    note.sha256 = m.needed('sha256');
    sound(/^[0-9a-f]{64}$/.test(note.sha256), 'sha256 is 64 hexadecimal digits');
    await checkData(m.raw('data'), note);
  }
  return note;
}

async function checkData(raw, { size, sha256 }) {
  if (raw === undefined) return;
  sound(raw.startsWith('"'), 'data is text');
  const bytes = fromBase64(raw.slice(1, -1));
  sound(bytes !== null, 'data is base64 without escapes');
  sound(String(bytes.length) === size, 'data has the size that stands beside it');
  sound(toHex(await digest('SHA-256', bytes)) === sha256, 'data has the hash that stands beside it');
}

// Members of a JSON object, as they are written: JSON.parse keeps one of two with the same name, and no digits.
class Members {
  #raw = new Map();

  constructor(text) {
    let value = {};
    try {
      value = JSON.parse(text);
    } catch {
      sound(false, 'a note is JSON');
    }
    sound(value !== null && typeof value === 'object' && !Array.isArray(value), 'a note is a JSON object');
    let at = spaces(text, 0);
    sound(part(text, at).depth <= 8, 'more than 8 arrays and objects of a note inside one another');
    at = spaces(text, at + 1);
    while (text[at] !== '}') {
      const { end } = part(text, at);
      const name = JSON.parse(text.slice(at, end));
      sound(utf8(text.slice(at + 1, end - 1)).length <= 1022, "a member's name above 1,022 bytes");
      sound(!isBroken(name), "U+FFFD, or half of a surrogate pair, in a member's name");
      sound(!this.#raw.has(name), 'a member twice');
      at = spaces(text, spaces(text, end) + 1); // behind the colon
      const value = part(text, at);
      this.#raw.set(name, text.slice(at, value.end));
      sound(this.#raw.size <= 64, 'more than 64 members');
      at = spaces(text, value.end);
      if (text[at] === ',') at = spaces(text, at + 1);
    }
  }

  raw(name) {
    return this.#raw.get(name);
  }

  #text(name) {
    const raw = this.raw(name);
    if (raw === undefined) return undefined;
    sound(raw.startsWith('"'), 'a member is text');
    const text = String(JSON.parse(raw));
    sound(text !== '', 'a text is not empty');
    sound(!isBroken(text), 'U+FFFD, or half of a surrogate pair, in a text');
    return text;
  }

  line(name) {
    const text = this.#text(name);
    sound(text === undefined || !/\p{Cc}/u.test(text), 'a control character in a line');
    sound(text === undefined || utf8(text).length <= 1024, 'a line above 1,024 bytes');
    return text;
  }

  needed(name) {
    const text = this.line(name);
    sound(text !== undefined, 'a member that is missing');
    return text;
  }

  lines(name) {
    const text = this.#text(name);
    sound(text === undefined || !/[^\P{Cc}\t\n]/u.test(text), 'a control character in a text');
    sound(text === undefined || utf8(text).length <= 65536, 'a text above 65,536 bytes');
    return text;
  }

  signature(name) {
    const text = this.#text(name);
    sound(text === undefined || text.length <= 4096, 'a signature above 4,096 characters');
    return text;
  }

  // A number in its digits.
  number(name) {
    const raw = this.raw(name);
    sound(raw !== undefined && /^[0-9]+$/.test(raw), 'a size is a number in plain digits');
    sound(Number(raw) <= MAX_NUMBER, 'a size above 2^53-1');
    return raw;
  }

  stretches(name) {
    const raw = this.raw(name)?.replace(/[ \t\r\n]/g, '');
    if (raw === undefined) return undefined;
    sound(/^\[\[[0-9]+,[0-9]+\](,\[[0-9]+,[0-9]+\])*\]$/.test(raw), 'a list of stretches, their numbers in plain digits');
    const all = raw.slice(2, -2).split('],[').map(pair => pair.split(','));
    sound(all.length <= 64, 'more than 64 stretches');
    all.forEach(([first, last], i) => {
      sound(Number(last) <= MAX_NUMBER, 'a number above 2^53-1 in a stretch');
      sound(Number(first) <= Number(last), 'a stretch that falls');
      sound(i === 0 || Number(first) > Number(all[i - 1][1]), 'a stretch that does not begin above the end of the one before');
    });
    return all.map(pair => pair.join('-')).join(' ');
  }

  // A height and a hash.
  head(name) {
    const raw = this.raw(name);
    if (raw === undefined) return undefined;
    const list = JSON.parse(raw);
    sound(Array.isArray(list) && list.length === 2, 'head is an array of two');
    const at = spaces(raw, 1);
    const digits = raw.slice(at, part(raw, at).end);
    sound(/^[0-9]+$/.test(digits), 'the height of head in plain digits');
    sound(Number(digits) <= MAX_NUMBER, 'the height of head above 2^53-1');
    sound(typeof list[1] === 'string' && /^[0-9a-f]{64}$/.test(list[1]), 'the hash of head is 64 hexadecimal digits');
    return { height: BigInt(digits), hash: list[1] };
  }
}

// Of stretches as a statement has them, the last number.
const lastOf = stretches => BigInt(stretches.slice(stretches.lastIndexOf('-') + 1));

const isBroken = text => /[\ufffd\p{Cs}]/u.test(text);

function spaces(text, at) {
  while (' \t\r\n'.includes(text[at] ?? 'x')) at++;
  return at;
}

// Where the JSON value ends that begins there, and how deep it is.
function part(text, begin) {
  let open = 0, depth = 0;
  for (let at = begin; at < text.length; at++) {
    switch (text[at]) {
      case '"':
        for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === '\\') at++;
        break;
      case '{': case '[':
        depth = Math.max(depth, ++open);
        continue;
      case '}': case ']':
        if (open-- === 0) return { end: at, depth }; // behind a number or a word
        break;
      case ',': case ' ': case '\t': case '\r': case '\n':
        if (open === 0) return { end: at, depth };
        continue;
      default:
        continue;
    }
    if (open === 0) return { end: at + 1, depth };
  }
  return { end: text.length, depth };
}

export function statementOf(note, chain) {
  const lines = [
    [note.attached ? 'edgechain attachment' : 'edgechain note', '1'],
    ['chain', toBase32(chain)], ['when', note.when], ['who', note.who], ['entries', note.entries], ['heights', note.heights],
    ['head', note.head && `${note.head.height} ${note.head.hash}`],
    ['name', note.name], ['media_type', note.mediaType], ['size', note.size], ['sha256', note.sha256],
    ['reason', note.reason], ['meaning', note.meaning],
  ];
  const said = lines.filter(([, value]) => value !== undefined).map(([word, value]) => `${word} ${value}\n`).join('');
  return note.text === undefined ? said : `${said}text\n${note.text}\n`;
}

// A signature by its parts.
function readSignature(base64) {
  const blob = fromBase64(base64);
  sound(blob !== null, 'a signature is base64');
  sound(ascii(blob.subarray(0, 6)) === 'SSHSIG', 'a signature begins with SSHSIG');
  sound(toHex(blob.subarray(6, 10)) === '00000001', 'a signature of another version');
  const [key, namespace, reserved, hash, signed] = strings(blob.subarray(10), 5);
  const [kind, publicKey] = strings(key, 2);
  const [signedKind, signature] = strings(signed, 2);
  sound(ascii(kind) === KIND, 'a key of another kind');
  sound(ascii(signedKind) === KIND, 'a signature of another kind');
  sound(publicKey.length === 32, 'a key of another length');
  sound(signature.length === 64, 'a signature of another length');
  sound(ascii(namespace) === NAMESPACE, 'a signature in another namespace');
  sound(reserved.length === 0, 'the reserved field of a signature is empty');
  const name = { sha256: 'SHA-256', sha512: 'SHA-512' }[ascii(hash)];
  sound(name !== undefined, 'a signature over another hash');
  sound(isCanonical(publicKey), "a person's key that is not canonical");
  sound(!isSmall(publicKey), "a person's key of small order");
  return { key: publicKey, namespace, reserved, hash, name, signature };
}

async function isOver({ key, namespace, reserved, hash, name, signature }, statement) {
  const sum = await digest(name, statement);
  return verify(key, concat(utf8('SSHSIG'), ...[namespace, reserved, hash, sum].map(string)), signature);
}

const ascii = bytes => String.fromCharCode(...bytes.subarray(0, 64));

// Strings of RFC 4251: so many, and nothing behind them.
function strings(bytes, count) {
  const all = [];
  let rest = bytes;
  for (let i = 0; i < count; i++) {
    const length = rest.length >= 4 ? new DataView(rest.buffer, rest.byteOffset).getUint32(0) : 0;
    sound(rest.length >= 4 && length <= rest.length - 4, 'a string of a signature beyond its end');
    all.push(rest.slice(4, 4 + length));
    rest = rest.subarray(4 + length);
  }
  sound(rest.length === 0, 'something behind the strings of a signature');
  return all;
}

const string = bytes => concat(new Uint8Array(new Uint32Array([bytes.length]).buffer).reverse(), bytes);

// A note's standing where a bad one fails nothing. `own` is the header of its own block, `known` tells of a height which hash is
// there, and the number behind the last entry: { hash, next } or undefined.
export async function standingOf(entry, chain, trust, own, known, checks) {
  try {
    const note = await judgeNote(entry, chain, trust, checks);
    return { ...note, binding: own && bindingOf(note, own, known) };
  } catch (e) {
    if (e.check !== 'note') throw e;
    return { standing: 'bad', why: e.why, note: e.note };
  }
}

function bindingOf({ head, entries }, own, known) {
  if (head === undefined) return undefined;
  if (head.height >= own.height) return 'other';
  const there = known(head.height);
  if (there === undefined) return 'unseen';
  if (toHex(there.hash) !== head.hash) return 'other';
  return entries !== undefined && lastOf(entries) >= there.next ? 'short' : 'same';
}

// What a header in sight tells of a height.
export function told(header, height) {
  if (header.height === height) return { hash: header.hash, next: header.next };
  if (header.height === height + 1n) return { hash: header.before, next: header.first };
  return undefined;
}
