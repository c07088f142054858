/** What a mistyped word may have meant. */

/** As part of a message, behind the word: ` (did you mean 'start'?)`; empty if no known word is close. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const close = closest(word, known);
  return close === undefined ? "" : ` (did you mean '${close}'?)`;
}

/** The known word that is closest: at most every third letter differs, or the word is the beginning of it. */
export function closest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const each of known) {
    const distance = distanceBetween(word, each);
    if (distance >= least) continue;
    least = distance;
    best = each;
  }
  return best ?? (word.length > 1 ? Array.from(known).find((each) => each.startsWith(word)) : undefined);
}

/**
 * How many letters are to be added, removed, replaced or swapped with the next one.
 *
 * Source: the optimal string alignment distance (Damerau 1964, with each letter changed at most once).
 */
function distanceBetween(one: string, other: string): number {
  let before: number[] = [];
  let above = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let row = 1; row <= one.length; row++) {
    const current = [row];
    for (let at = 1; at <= other.length; at++) {
      const isSame = one[row - 1] === other[at - 1];
      current[at] = Math.min(above[at] + 1, current[at - 1] + 1, above[at - 1] + Number(!isSame));
      const isSwapped = row > 1 && at > 1 && one[row - 1] === other[at - 2] && one[row - 2] === other[at - 1];
      if (isSwapped) current[at] = Math.min(current[at], before[at - 2] + 1);
    }
    [before, above] = [above, current];
  }
  return above[other.length];
}
