// "Receipt": an aggregator's countersignature.

import { equal } from './bytes.mjs';
import { decode, encode, hasKeys, isArray, isBytes, isText, isUint } from './cbor.mjs';
import { form, need } from './checks.mjs';
import { verify } from './ed25519.mjs';
import { isName } from './names.mjs';

// From the decoded array.
export function decodeReceipt(value) {
  form(isArray(value, 3, 3), 'a receipt is an array of three');
  const [prot, unprotected, signature] = value;
  form(isBytes(prot), "a receipt's protected header is a byte string");
  form(hasKeys(unprotected), "a receipt's unprotected header is empty");
  form(isBytes(signature, 64), "a receipt's signature has 64 bytes");
  const labels = decode(prot);
  form(hasKeys(labels, 1n, 4n, 15n), "a receipt's labels are 1, 4 and 15");
  form(labels.get(1n) === -8n, "a receipt's algorithm is -8");
  const kid = labels.get(4n);
  form(isBytes(kid, 8), "a receipt's kid has 8 bytes");
  const claims = labels.get(15n);
  form(hasKeys(claims, 1n, 6n), "a receipt's claims are 1 and 6");
  const name = claims.get(1n), time = claims.get(6n);
  form(isText(name), "an aggregator's name is text");
  form(isName(name), 'an aggregator is spelled otherwise');
  form(isUint(time), "a receipt's time is a uint");
  return { value, bytes: encode(value), protected: prot, signature, kid, name, time };
}

// The receipts on a signed header that are by listed aggregators; each of them must check.
export async function trustedReceipts(signed, trust) {
  const trusted = [];
  for (const receipt of signed.receipts) {
    const listed = trust.aggregators.find(a => a.name === receipt.name && equal(a.kid, receipt.kid));
    if (listed === undefined) continue;
    need(await checks(receipt, signed, listed.key), 'receipts', 'a listed receipt that does not check');
    trusted.push({ name: receipt.name, time: receipt.time, height: signed.header.height });
  }
  return trusted;
}

function checks(receipt, signed, key) {
  const message = encode(['CounterSignatureV2', signed.protected, receipt.protected, new Uint8Array(0),
    signed.header.bytes, [signed.signature]]);
  return verify(key, message, receipt.signature);
}
