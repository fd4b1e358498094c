// WebCrypto as browsers have it, and Node of itself from version 19 on. Hashes are Node's own where it is there: WebCrypto
// hands each of them to another thread.

const node = globalThis.process?.versions?.node ? await import('node:crypto') : null;

export const { subtle } = globalThis.crypto ?? node.webcrypto;

// The digest of bytes by SHA-256 or SHA-512.
export async function digest(name, bytes) {
  if (node === null) return new Uint8Array(await subtle.digest(name, bytes));
  return new Uint8Array(node.createHash(name).update(bytes).digest());
}
