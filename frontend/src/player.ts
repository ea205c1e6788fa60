/** The position in an episode, moved by the clock, the scrubber, the keys and the plots. */

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8] as const;

/** Say whether all that is shown at a step is here; the clock waits until it is. */
export type IsReady = (step: number) => boolean;

/**
 * A clock that moves a step through an episode.
 *
 * Listeners are called at most once for each picture of the screen, and only if something changed.
 */
export class Player {
  playing = false;
  waiting = false;
  speed = 1;
  direction: 1 | -1 = 1;

  private position = 0; // steps, with fractions
  private shown = -1;
  private request = 0;
  private last = 0;
  private readonly listeners = new Set<() => void>();

  constructor(
    readonly steps: number,
    readonly rate: number, // steps per second at speed 1
    private isReady: IsReady = () => true,
  ) {}

  get step(): number {
    return Math.min(Math.floor(this.position + 1e-6), this.steps - 1);
  }

  setReady(isReady: IsReady): void {
    this.isReady = isReady;
  }

  /** Call back on changes; returns what ends that. */
  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  play(): void {
    if (this.steps < 2) return;
    if (this.step >= this.steps - 1) this.position = 0;
    this.playing = true;
    this.direction = 1;
    this.last = 0;
    this.schedule();
  }

  pause(): void {
    this.playing = false;
    this.waiting = false;
    this.changed();
  }

  seek(step: number): void {
    const bounded = Math.min(Math.max(Math.round(step), 0), this.steps - 1);
    if (bounded === this.step) return;
    this.direction = bounded < this.step ? -1 : 1;
    this.position = bounded;
    this.changed();
  }

  move(steps: number): void {
    if (this.playing) this.pause();
    this.seek(this.step + steps);
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    this.changed();
  }

  /** Move to the next (1) or previous (-1) of the speeds. */
  shift(by: 1 | -1): void {
    const place = SPEEDS.findIndex((speed) => speed === this.speed);
    this.setSpeed(SPEEDS[Math.min(Math.max(place + by, 0), SPEEDS.length - 1)] ?? 1);
  }

  /** Tell the listeners, such as when a frame arrived. */
  changed(): void {
    this.shown = -1;
    this.schedule();
  }

  close(): void {
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.listeners.clear();
  }

  private schedule(): void {
    if (this.request === 0) this.request = requestAnimationFrame(this.tick);
  }

  private readonly tick = (now: number): void => {
    this.request = 0;
    if (this.playing) this.advance(now);
    if (this.shown !== this.step) {
      this.shown = this.step;
      for (const listener of this.listeners) listener();
    }
    if (this.playing) this.schedule();
  };

  private advance(now: number): void {
    const elapsed = this.last === 0 ? 0 : Math.min(now - this.last, 250); // a hidden tab does not leap
    this.last = now;
    const next = this.position + (elapsed / 1000) * this.rate * this.speed;
    const end = this.steps - 1;
    const wasWaiting = this.waiting;
    this.waiting = !this.isReady(Math.min(Math.floor(next + 1e-6), end));
    if (this.waiting !== wasWaiting) this.shown = -1;
    if (this.waiting) return;
    this.position = Math.min(next, end);
    if (this.position >= end) {
      this.playing = false;
      this.shown = -1;
    }
  }
}
