/** The box for conditions, with examples, mistakes, and the words that conditions consist of. */

import { useEffect, useState } from "preact/hooks";
import type { Column, Distributions } from "../data/types";
import { nameOf } from "../filter";

const MOST_WORDS = 40; // of each kind
const OPERATORS = [
  "<",
  "<=",
  ">",
  ">=",
  "==",
  "!=",
  "in",
  "not in",
  "is None",
  "and",
  "or",
  "not",
  "+",
  "-",
  "*",
  "/",
  "%",
];
const FUNCTIONS = ["min", "max", "mean", "std", "sum", "any", "all"];

interface WordsProps {
  title: string;
  words: string[];
  onInsert: (word: string) => void;
}

function Words({ title, words, onInsert }: WordsProps) {
  return (
    <div>
      <dt>{title}</dt>
      <dd>
        {words.slice(0, MOST_WORDS).map((word) => (
          <button type="button" class="chip code" key={word} onClick={() => onInsert(word)}>
            {word}
          </button>
        ))}
      </dd>
    </div>
  );
}

/** The words of conditions; a click puts one at the cursor. */
function Language({
  columns,
  fields,
  onInsert,
}: {
  columns: Column[];
  fields: string[];
  onInsert: (word: string) => void;
}) {
  const example = fields.includes("rewards") ? "rewards" : (fields[0] ?? "rewards");
  return (
    <dl class="language panel" data-testid="filter-words">
      <Words title="Of an episode" words={columns.map((column) => nameOf(column.name))} onInsert={onInsert} />
      <Words title="Compare" words={OPERATORS} onInsert={(word) => onInsert(` ${word} `)} />
      <Words
        title="Of all steps of a field"
        words={FUNCTIONS.map((name) => `${name}(${JSON.stringify(example)})`)}
        onInsert={onInsert}
      />
      <Words title="Fields" words={fields.map((field) => JSON.stringify(field))} onInsert={onInsert} />
    </dl>
  );
}

/** Conditions for this dataset that show what the filter can say. */
export function examplesFor(distributions: Distributions | null, columns: Column[]): string[] {
  const found: string[] = [];
  const [returns] = distributions?.returns ?? [];
  if (returns && distributions?.returns.length === 1 && returns.summary.mean !== null) {
    const low = returns.summary.mean - (returns.summary.std ?? 0);
    found.push(`return < ${Number(low.toPrecision(3))}`);
  }
  const length = distributions?.lengths.summary;
  if (length?.mean) found.push(`length > ${Math.round(length.mean)} and terminated`);
  if (columns.some((column) => column.name === "mark")) found.push("mark is not None");
  if (columns.some((column) => column.name === "seed")) found.push("seed in [1, 2, 3]");
  found.push('max("rewards") > 1');
  return found.slice(0, 4);
}

export interface FilterProps {
  where: string;
  mistake: string | null; // why the condition cannot be read
  examples: string[];
  columns: Column[];
  fields: string[]; // names of leaves
  onWhere: (where: string) => void;
  box: { current: HTMLInputElement | null };
}

export function Filter({ where, mistake, examples, columns, fields, onWhere, box }: FilterProps) {
  const [text, setText] = useState(where);
  const [open, setOpen] = useState(false);
  useEffect(() => setText(where), [where]);
  const insert = (word: string) => {
    const field = box.current;
    if (!field) return;
    field.focus();
    field.setRangeText(word, field.selectionStart ?? text.length, field.selectionEnd ?? text.length, "end");
    setText(field.value);
  };
  return (
    <div class="filter">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onWhere(text.trim());
        }}
      >
        <input
          ref={box}
          value={text}
          placeholder="Filter episodes, such as  return < 10 and not truncated"
          aria-label="Filter episodes"
          aria-invalid={mistake !== null}
          spellcheck={false}
          autocomplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            event.preventDefault();
            if (text) {
              setText("");
              onWhere("");
            } else event.currentTarget.blur();
          }}
          data-testid="filter"
        />
        {text.trim() !== where && (
          <button type="submit" class="primary">
            Filter
          </button>
        )}
        {where !== "" && text.trim() === where && (
          <button type="button" onClick={() => onWhere("")} data-testid="clear-filter">
            Clear
          </button>
        )}
      </form>
      {mistake !== null && (
        <p class="mistake" role="alert" data-testid="filter-error">
          {mistake}
        </p>
      )}
      <p class="examples muted">
        {where === "" &&
          examples.map((example) => (
            <button type="button" class="chip code" key={example} onClick={() => onWhere(example)}>
              {example}
            </button>
          ))}
        <button
          type="button"
          class="link"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          data-testid="filter-help"
        >
          {open ? "Hide the words" : "What can I write?"}
        </button>
      </p>
      {open && <Language columns={columns} fields={fields} onInsert={insert} />}
    </div>
  );
}
