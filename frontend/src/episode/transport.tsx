/** The bar that plays and scrubs an episode. */

import { useEffect, useRef } from "preact/hooks";
import { clock, count, number } from "../format";
import { onThemeChange } from "../theme";
import type { Player } from "../player";
import { SPEEDS } from "../player";
import type { Series } from "../data/types";
import { useChanges } from "../use_changes";
import { Icon } from "../components/icons";

const SPEED_NAMES: Record<number, string> = { 0.25: "¼", 0.5: "½" };

interface TransportProps {
  player: Player;
  rewards: Series | null;
}

/** Draw the rewards behind the scrubber, so that one sees where something happens. */
function drawRewards(canvas: HTMLCanvasElement, rewards: Series | null, steps: number): void {
  const context = canvas.getContext("2d");
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!context || width === 0) return;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const values = rewards?.components[0]?.values;
  if (!rewards || !values) return;
  const finite = values.filter((value): value is number => value !== null);
  const [low, high] = [Math.min(0, ...finite.slice(0, 5000)), Math.max(0, ...finite.slice(0, 5000))];
  if (!(high > low)) return;
  context.scale(devicePixelRatio, devicePixelRatio);
  context.fillStyle = getComputedStyle(canvas).color;
  const y = (value: number) => ((high - value) / (high - low)) * (height - 2) + 1;
  const end = Math.max(steps - 1, 1);
  values.forEach((value, place) => {
    if (value === null) return;
    const x = ((rewards.steps[place] ?? 0) / end) * width;
    const next = ((rewards.steps[place + 1] ?? (rewards.steps[place] ?? 0) + 1) / end) * width;
    context.fillRect(x, Math.min(y(value), y(0)), Math.max(next - x, 0.75), Math.max(Math.abs(y(0) - y(value)), 0.5));
  });
}

export function Transport({ player, rewards }: TransportProps) {
  useChanges(player);
  const strip = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const draw = () => strip.current && drawRewards(strip.current, rewards, player.steps);
    draw();
    const stop = onThemeChange(draw);
    addEventListener("resize", draw);
    return () => {
      stop();
      removeEventListener("resize", draw);
    };
  }, [rewards, player]);

  const { step, steps, rate } = player;
  const end = Math.max(steps - 1, 0);
  return (
    <div class="transport" role="group" aria-label="Playback" data-testid="transport" data-step={step}>
      <div class="scrub">
        <canvas ref={strip} aria-hidden="true" />
        <input
          type="range"
          min={0}
          max={end}
          value={step}
          disabled={end === 0}
          aria-label="Step"
          aria-valuetext={`step ${step} of ${end}`}
          style={{ "--done": end ? step / end : 0 }}
          onInput={(event) => player.seek(Number(event.currentTarget.value))}
          data-testid="scrubber"
        />
      </div>
      {/* Buttons pressed with the pointer do not take the focus, so that the space bar still plays. */}
      <div class="controls" onMouseDown={(event) => event.preventDefault()}>
        <div class="buttons">
          <button
            type="button"
            class="quiet square"
            onClick={() => player.seek(0)}
            aria-label="First step"
            title="First step (Home)"
          >
            <Icon name="first" />
          </button>
          <button
            type="button"
            class="quiet square"
            onClick={() => player.move(-1)}
            aria-label="Previous step"
            title="Previous step (←)"
          >
            <Icon name="back" />
          </button>
          <button
            type="button"
            class="primary square play"
            onClick={() => player.toggle()}
            aria-label={player.playing ? "Pause" : "Play"}
            title={player.playing ? "Pause (space)" : "Play (space)"}
            data-testid="play"
            data-waiting={player.waiting}
          >
            <Icon name={player.playing ? "pause" : "play"} />
          </button>
          <button
            type="button"
            class="quiet square"
            onClick={() => player.move(1)}
            aria-label="Next step"
            title="Next step (→)"
          >
            <Icon name="forward" />
          </button>
          <button
            type="button"
            class="quiet square"
            onClick={() => player.seek(end)}
            aria-label="Last step"
            title="Last step (End)"
          >
            <Icon name="last" />
          </button>
        </div>
        <output class="where" data-testid="where">
          <span>
            step <b>{count(step)}</b> <span class="muted">of {count(end)}</span>
          </span>
          <span class="muted time">
            {clock(step / rate)} / {clock(end / rate)}
          </span>
        </output>
        <div class="speeds" role="radiogroup" aria-label="Speed">
          <span class="muted rate">{number(rate * player.speed)} steps/s</span>
          {SPEEDS.map((speed) => (
            <button
              type="button"
              key={speed}
              role="radio"
              aria-checked={speed === player.speed}
              class={speed === player.speed ? "quiet on" : "quiet"}
              aria-label={`Speed ${speed}`}
              onClick={() => player.setSpeed(speed)}
              data-testid={`speed-${speed}`}
            >
              {SPEED_NAMES[speed] ?? speed}×
            </button>
          ))}
        </div>
      </div>
    </div>
  );
}
