/** What the table of a dataset showed last, so that an episode leads on to the next one of that table. */

export interface Trail {
  where: string;
  sort: string;
  descending: boolean;
  place: number; // row of the episode that was opened
}

const trails = new Map<string, Trail>();

export function setTrail(dataset: string, trail: Trail): void {
  trails.set(dataset, trail);
}

export function getTrail(dataset: string): Trail | null {
  return trails.get(dataset) ?? null;
}

export function clearTrail(dataset: string): void {
  trails.delete(dataset);
}
