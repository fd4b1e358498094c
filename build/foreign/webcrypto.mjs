// WebCrypto as browsers have it, and Node of itself from version 19 on. Hashes are Node's own where it is there: WebCrypto
// hands each of them to another thread. Where a browser has none, on a page that came over plain http, they are ours.

import { sha256, sha512 } from './sha2.mjs';

const node = globalThis.process?.versions?.node ? await import('node:crypto') : null;

export const subtle = (globalThis.crypto ?? node?.webcrypto)?.subtle;

const byHand = { 'SHA-256': sha256, 'SHA-512': sha512 };

// The digest of bytes by SHA-256 or SHA-512.
export async function digest(name, bytes) {
  if (node !== null) return new Uint8Array(node.createHash(name).update(bytes).digest());
  if (subtle === undefined) return byHand[name](bytes);
  return new Uint8Array(await subtle.digest(name, bytes));
}
