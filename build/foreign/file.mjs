// "Files": what a file is, by its first byte; and the check of one file.

import { verifyBundle } from './bundle.mjs';
import { verifyFork } from './fork.mjs';
import { verifyProof } from './proof.mjs';

export function kindOf(bytes) {
  if (bytes[0] === 0xa3) return 'fork';
  return bytes[0] >= 0x40 && bytes[0] <= 0x5f ? 'bundle' : 'proof';
}

export async function verifyFile(bytes, trust) {
  const kind = kindOf(bytes);
  return { kind, ...await { fork: verifyFork, bundle: verifyBundle, proof: verifyProof }[kind](bytes, trust) };
}
