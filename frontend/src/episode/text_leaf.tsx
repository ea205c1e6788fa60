/** A text of an episode as it stands at the current step. */

import { api } from "../data/api";
import { brief, count } from "../format";
import type { Player } from "../player";
import { useRequest } from "../data/request";
import { placeAt } from "../data/series";
import type { EpisodeLeaf } from "../data/types";
import { useChanges } from "../use_changes";
import { Failure } from "../components/states";

interface TextLeafProps {
  dataset: string;
  episode: number;
  revision: string;
  leaf: EpisodeLeaf;
  player: Player;
}

export function TextLeaf({ dataset, episode, revision, leaf, player }: TextLeafProps) {
  useChanges(player);
  const texts = useRequest(`${dataset} ${episode} ${revision} ${leaf.name}`, (signal) =>
    api.texts({ dataset, episode, revision, leaf: leaf.name }, signal),
  );
  const found = texts.data?.texts ?? [];
  const place = placeAt(
    found.map((text) => text.step),
    player.step,
  );
  const text = found[place];
  return (
    <section class="text-leaf" data-testid="text" data-leaf={leaf.name}>
      <header>
        <h3>{brief(leaf.name)}</h3>
        {text && found.length > 1 && (
          <span class="muted fixed">
            since step {count(text.step)} · {place + 1} of {found.length}
            {texts.data?.cut ? "+" : ""}
          </span>
        )}
      </header>
      {texts.error !== null && (
        <Failure error={texts.error} title="Could not load this text" onRetry={texts.reload} compact />
      )}
      {text && <blockquote>{text.text || <span class="muted">empty</span>}</blockquote>}
    </section>
  );
}
