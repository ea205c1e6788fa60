/** Values of a series at a step, also where only the extremes of a range of steps were sent. */

/** The place of the last of the ascending steps that is at most `step`; 0 before the first. */
export function placeAt(steps: readonly number[], step: number): number {
  let low = 0;
  let high = steps.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((steps[middle] ?? Infinity) <= step) low = middle;
    else high = middle - 1;
  }
  return low;
}
