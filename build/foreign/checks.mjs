// How a check fails. Every check of the page is one call of need(): the condition, the name the page gives to the check
// (sections "Checks of a proof", "Bundle", "Checks of a fork"), and what was wrong, in words that occur once only.

export class Failed extends Error {
  constructor(check, why) {
    super(`${check}: ${why}`);
    this.check = check;
    this.why = why;
  }
}

// Checks, by their words, that are left out: omit.mjs does so. Empty in every other use.
export const leftOut = new Set();

export function need(condition, check, why) {
  if (!condition && !leftOut.has(why)) throw new Failed(check, why);
}

// The same for decoding, by far the most frequent check.
export function form(condition, why) {
  need(condition, 'decoding', why);
}
