// The best way to cut a row of pieces into parts.

/**
 * The parts, as pairs of first and end. `begin(first)` gives what adds a piece to a part (with the one that follows it)
 * and says what the part costs by then; nothing if it does not fit. The first piece of a part always fits.
 */
export function cut(pieces, begin) {
  // For each number of pieces: the least cost, and where the last part begins.
  const best = [{ cost: 0 }];
  pieces.forEach((_, first) => {
    const add = begin(first);
    for (let last = first; last < pieces.length; last++) {
      const added = add(pieces[last], pieces[last + 1]);
      if (added === undefined) return;
      const cost = best[first].cost + added;
      if (!(best[last + 1]?.cost <= cost)) best[last + 1] = { cost, first };
    }
  });
  const parts = [];
  for (let end = pieces.length; end; end = best[end].first) parts.push([best[end].first, end]);
  return parts.reverse();
}
