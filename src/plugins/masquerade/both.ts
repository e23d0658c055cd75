/**
 * Does two things at once, and comes to an end only when both have: nothing is under way any more when what failed is
 * undone.
 *
 * @throws What the first of them threw.
 */
export async function both(...works: readonly [() => Promise<void>, () => Promise<void>]): Promise<void> {
  const outcomes = await Promise.allSettled(works.map((work) => work()));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}
