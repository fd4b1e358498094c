// "Evidence from outside" of the section "Proof": its form, and nothing else.

import { isArray, isBytes, isText, isUint } from './cbor.mjs';
import { form } from './checks.mjs';
import { isName } from './names.mjs';

export function decodeOutside(list) {
  form(isArray(list, 1), 'evidence from outside is a list, not an empty one');
  form(list.length <= 16, 'more than 16 pieces of evidence from outside');
  return list.map(value => {
    form(isArray(value, 3, 3), 'evidence from outside has three elements');
    const [kind, height, evidence] = value;
    form(isText(kind) && isName(kind), 'a kind of evidence is spelled as a name');
    form(isUint(height), 'the height of evidence is a uint');
    form(isBytes(evidence), 'evidence is a byte string');
    form(evidence.length <= 2 ** 20, 'evidence above 1 MiB');
    return { kind, height, evidence };
  });
}
