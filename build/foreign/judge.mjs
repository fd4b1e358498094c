// node judge.mjs: judges files, one a line. Each line of the input is { trust, file, other? } in base64; each line of the
// output is what was found: { fail: the check } or what the file shows. With another file it says whether both, which
// verify, can be of one history. With "note" the file is an entry of a person, of the first chain of the trust file.

import { createInterface } from 'node:readline';
import { toBase32 } from './bytes.mjs';
import { Float } from './cbor.mjs';
import { Failed } from './checks.mjs';
import { decodeEntry } from './entry.mjs';
import { verifyFile } from './file.mjs';
import { standingOf } from './note.mjs';
import { parseTrust } from './trust.mjs';
import { compareFiles } from './two.mjs';

// Files may be large: Node's own is faster than what browsers share.
const toHex = bytes => Buffer.from(bytes).toString('hex');
const bytesOf = base64 => new Uint8Array(Buffer.from(base64, 'base64'));

async function judge({ trust, file, other, note }) {
  try {
    const listed = await parseTrust(bytesOf(trust));
    if (note) return { notes: [tellNote(await standingOf(decodeEntry(bytesOf(file)), listed.chains[0], listed))] };
    const shown = await verifyFile(bytesOf(file), listed);
    if (other === undefined) return tell(shown);
    return { apart: await compareFiles(shown, await verifyFile(bytesOf(other), listed)) !== null };
  } catch (e) {
    if (!(e instanceof Failed)) return { broken: e.stack };
    return { fail: e.check };
  }
}

const tell = shown => ({
  kind: shown.kind, chain: toBase32(shown.chain), gateway: shown.gateway, number: shown.number, next: shown.next, height: shown.height,
  by: shown.receiptedBy, before: shown.notBefore, after: shown.notAfter, silences: shown.silences, falling: shown.contradicting,
  outside: shown.outside, notes: (shown.notes ?? (shown.note ? [shown.note] : [])).map(tellNote), sides: shown.sides, entry: shown.entry && tellEntry(shown.entry),
});

const tellNote = ({ number, count, repeats, standing, signer, statement, binding }) => ({ number, count, repeats, standing, signer, statement, binding });

const tellEntry = e => [toHex(e.salt), e.received, e.source, e.flags, toHex(e.payload), e.decoder, e.readings.map(r =>
  [r.device, r.name, r.unit, ...tellValue(r.value), r.time, r.quality, r.derived, r.meaning === undefined ? '' : toHex(r.meaning)])];

// A value's kind, and the value in text: of a float the bits.
function tellValue(v) {
  if (v === null) return ['null', ''];
  if (typeof v === 'bigint') return ['int', String(v)];
  if (typeof v === 'boolean') return ['bool', String(v)];
  if (typeof v === 'string') return ['text', v];
  if (v instanceof Float) {
    const bits = new DataView(new ArrayBuffer(8));
    bits.setFloat64(0, v.value);
    return ['float', bits.getBigUint64(0).toString(16)];
  }
  return ['bytes', toHex(v)];
}

// Numbers go out as text: JSON's are doubles for many readers.
const plain = (_, v) => (typeof v === 'bigint' || typeof v === 'number' ? String(v) : v);

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await judge(JSON.parse(line)), plain) + '\n');
}
