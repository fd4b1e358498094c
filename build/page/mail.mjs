// What mail programs do to files, undone and told, as edgeverify does before it checks one; and what comes in a page of its own.

import { fromBase64 } from '../foreign/bytes.mjs';
import { Failed, need } from '../foreign/checks.mjs';
import { kindOf } from '../foreign/file.mjs';
import { BEGIN, END, decodePem, isText as isPem } from '../foreign/pem.mjs';

export const LIMIT = 32 * 2 ** 20;

// Text has no control characters; each file of the format has some among its first few bytes.
export const isText = bytes => bytes.subarray(0, 512).every(c => c >= 32 ? c !== 0x7f : [9, 10, 12, 13].includes(c));

// A file of which nothing is known, as it has more bytes than are looked at.
export class TooLarge extends Error {}

// The bytes of a file as the format has them, and what had to be undone: keys of the messages.
export async function opened(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return mended(bytes, []);
  return mended(await unzipped(bytes), ['undoneGzip']);
}

async function unzipped(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip')).getReader();
  const parts = [];
  let size = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      size += part.value.length;
      if (size > LIMIT) break; // a few kilobytes of gzip can be gigabytes
    }
  } catch {
    need(false, 'decoding', 'damaged or cut short gzip');
  }
  if (size > LIMIT) throw new TooLarge();
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function mended(bytes, undone) {
  if (bytes.length === 0 || !isText(bytes)) return { bytes, undone };
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  if (isPem(bytes) && isStrict(bytes)) return { bytes, undone };
  const enclosed = enclosedIn(text);
  if (enclosed !== null) return { bytes: enclosed.bytes, undone: [...undone, 'undonePage'] };
  const wrong = why => need(false, 'decoding', why);
  let body = text, cutShort = true;
  if (body.startsWith('\ufeff')) {
    body = body.slice(1);
    undone.push('undoneMark');
  }
  const from = body.indexOf(BEGIN);
  if (from < 0) {
    if (body.includes('-----BEGIN ')) wrong('a text with a PEM block of another label');
    undone.push('undoneUnarmed');
  } else {
    const to = body.indexOf(END, from);
    if (to < 0) wrong('a text that is cut short: its last line is missing');
    const before = body.slice(0, from), after = body.slice(to + END.length);
    if (after.includes(BEGIN)) wrong('a text with several proofs: save each to a file of its own');
    if (/[^\ufeff\u00a0 \t\r\n\f>|]/.test(before + after)) undone.push('undoneAround');
    body = body.slice(from + BEGIN.length, to);
    cutShort = false;
  }
  const clean = body.split('\n').map(line => line.replace(/^[>| \t\r\f\u00a0]+/, marks => {
    if (/[>|]/.test(marks) && !undone.includes('undoneQuoted')) undone.push('undoneQuoted');
    return '';
  }).replace(/[ \t\r\f\u00a0]/g, '')).join('');
  if (undone.length === 0) undone.push('undoneLines');
  const decoded = /^[A-Za-z0-9+/=]*$/.test(clean) ? fromBase64(clean) : null;
  if (decoded === null) wrong('a text that was changed or cut short, or is none of a proof');
  if (decoded.length === 0 || (decoded[0] & 0xe0) !== 0xa0 && kindOf(decoded) !== 'bundle') wrong('a text that is no base64 of a proof, a bundle or a fork');
  if (!cutShort && kindOf(decoded) !== 'proof') wrong('a bundle or evidence of a fork as text: these have no such form');
  return { bytes: decoded, undone };
}

// PEM as the format has it, which the verifier reads by itself.
function isStrict(bytes) {
  try {
    return decodePem(bytes).length > 0;
  } catch (e) {
    if (!(e instanceof Failed)) throw e;
    return false;
  }
}

// The proof that a page of ours came with: { name, bytes }, or null.
export function enclosedIn(text) {
  const found = /<script type="application\/octet-stream" id="enclosed" data-name="([a-z2-7]{8}-[0-9]{1,19}\.edgeproof)">([A-Za-z0-9+/=]+)<\/script>/.exec(text);
  const bytes = found && fromBase64(found[2]);
  return bytes ? { name: found[1], bytes } : null;
}
