// One vector, as vectors/README.md says: null where this verifier agrees, else what it says instead.

import { equal, fromBase64, fromHex, toHex, utf8 } from './bytes.mjs';
import { decode, encode } from './cbor.mjs';
import { Failed, need } from './checks.mjs';
import { decodeEntry } from './entry.mjs';
import { decodeHeader, decodeSigned, hasKid, hasSignature } from './header.mjs';
import { consistent, leafHash, rootOf } from './merkle.mjs';
import { decodePem, encodePem } from './pem.mjs';
import { verifyProof } from './proof.mjs';
import { verifyBundle } from './bundle.mjs';
import { verifyFile } from './file.mjs';
import { verifyFork } from './fork.mjs';
import { decodeReceipt } from './receipt.mjs';
import { judgeNote } from './note.mjs';
import { parseTrust } from './trust.mjs';
import { compareFiles } from './two.mjs';

// What was found: { fail: Failed } or { ok: what it shows }.
export async function outcome(vector) {
  try {
    const bytes = vector.bytes === undefined ? undefined : fromBase64(vector.bytes);
    const ok = await kinds[vector.kind](vector, bytes);
    if (vector.expect === 'ok') checkEncoding(vector, bytes);
    return { ok };
  } catch (e) {
    if (e instanceof Failed) return { fail: e };
    throw e;
  }
}

export async function disagreement(vector) {
  const { ok, fail } = await outcome(vector);
  if (vector.expect === 'fail') {
    if (!fail) return 'read, and should be refused';
    if (vector.check !== undefined && vector.check !== fail.check) return `fails ${fail.check} (${fail.why}), not ${vector.check}`;
    return null;
  }
  if (fail) return `refused: ${fail.message}`;
  for (const [field, expected] of Object.entries({ ...ABSENT, ...vector })) {
    if (!(field in ok)) continue;
    if (plain(ok[field]) !== plain(expected)) return `${field} is ${ok[field]}, not ${expected}`;
  }
  return null;
}

// Numbers here are BigInts, those of JSON are not.
const plain = value => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? Number(v) : v));

// What a case leaves out where there is none of it.
const ABSENT = { not_before: undefined, not_after: undefined, receipted_by: [], silences: [], falling: [], standing: undefined, signer: undefined, binding: undefined, notes: [] };

const shows = ({ notBefore, notAfter, receiptedBy, silences, contradicting, ...rest }) =>
  ({ ...rest, not_before: notBefore, not_after: notAfter, receipted_by: receiptedBy, silences, falling: contradicting });

// What is read encodes back to the same bytes. A trust file has no encoding; a bundle is a sequence of items.
function checkEncoding({ kind, text }, bytes) {
  if (kind === 'text') need(encodePem(decodePem(utf8(text))) === text.replaceAll('\r\n', '\n'), 'vector', 'does not encode back to the same text');
  if (bytes === undefined || kind === 'bundle' || kind === 'pair' || kind === 'trust') return;
  const value = decode(bytes, { tagged: kind === 'signed header' });
  need(equal(encode(value), bytes), 'vector', 'does not encode back to the same bytes');
}

const kinds = {
  async entry(_, bytes) {
    decodeEntry(bytes);
    return { hash: toHex(await leafHash(bytes)) };
  },
  async header(_, bytes) {
    const { hash } = await decodeHeader(bytes);
    return { hash: toHex(hash) };
  },
  async 'signed header'(_, bytes) {
    const signed = await decodeSigned(bytes);
    if (signed.header.genesis) {
      need(await hasKid(signed, signed.header.key), 'signature', 'a genesis names another key than its own');
      need(await hasSignature(signed, signed.header.key), 'signature', 'the signature of a genesis');
    }
    return {};
  },
  async receipt(_, bytes) {
    const value = decode(bytes);
    decodeReceipt(value);
    return {};
  },
  async proof({ trust }, bytes) {
    const shown = await verifyProof(bytes, await parseTrust(utf8(trust)));
    return shows(shown);
  },
  async bundle({ trust }, bytes) {
    const shown = shows(await verifyBundle(bytes, await parseTrust(utf8(trust))));
    return { ...shown, notes: shown.notes.map(({ number, count, repeats, standing, signer, binding }) => ({ number, count, repeats, standing, signer, binding })) };
  },
  async fork({ trust }, bytes) {
    const shown = await verifyFork(bytes, await parseTrust(utf8(trust)));
    return { height: shown.height, receipted_by: shown.receiptedBy };
  },
  async pair({ trust, other }, bytes) {
    const listed = await parseTrust(utf8(trust));
    const files = [];
    for (const file of [bytes, fromBase64(other)]) files.push(await verifyFile(file, listed));
    const apart = await compareFiles(...files);
    need(apart === null, 'pair', apart);
    return {};
  },
  async note({ trust }, bytes) {
    const listed = await parseTrust(utf8(trust));
    return judgeNote(decodeEntry(bytes), listed.chains[0], listed);
  },
  async trust({ text }, bytes) {
    await parseTrust(bytes ?? utf8(text));
    return {};
  },
  async text({ text }) {
    decodePem(utf8(text));
    return {};
  },
  async tree({ leaves = [], root }) {
    const hashes = await Promise.all(leaves.map(leaf => leafHash(utf8(leaf))));
    need(toHex(await rootOf(hashes)) === root, 'tree', 'another root of a tree');
    return {};
  },
  async consistency({ from = 0, to, before, after, hashes = [] }) {
    need(await consistent(BigInt(from), BigInt(to), fromHex(before), fromHex(after), hashes.map(fromHex)),
      'consistency', 'a consistency proof that does not hold');
    return {};
  },
};
