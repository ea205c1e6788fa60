/** Facts of a dataset, an environment or an episode as a list of titles and texts. */

import { useState } from "preact/hooks";
import type { Fact } from "../data/types";
import { shortened } from "../format";

const LONG = 220; // characters

function isSafe(address: string): boolean {
  return /^https?:\/\//i.test(address);
}

export function LongText({ text, code = false }: { text: string; code?: boolean }) {
  const [open, setOpen] = useState(false);
  const shown = open ? text : shortened(text, LONG);
  return (
    <>
      {code ? <code>{shown}</code> : shown}
      {text.length > LONG && (
        <button type="button" class="link" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "less" : "more"}
        </button>
      )}
    </>
  );
}

function FactText({ fact }: { fact: Fact }) {
  if (fact.form === "link" && isSafe(fact.text)) {
    return (
      <a href={fact.text} target="_blank" rel="noopener noreferrer">
        {shortened(fact.text, LONG)}
      </a>
    );
  }
  return <LongText text={fact.text} code={fact.form === "code"} />;
}

export function FactList({ facts, testid }: { facts: Fact[]; testid: string }) {
  return (
    <dl class="facts" data-testid={testid}>
      {facts.map((fact) => (
        <div key={fact.key}>
          <dt>{fact.title}</dt>
          <dd class={fact.text === "Not provided" ? "muted" : ""}>
            <FactText fact={fact} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
