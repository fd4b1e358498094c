// WebCrypto as browsers have it, and Node of itself from version 19 on.

export const { subtle } = globalThis.crypto ?? (await import('node:crypto')).webcrypto;
