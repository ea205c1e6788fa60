/** A hook that loads an answer for a component and cancels what is no longer needed. */

import { useCallback, useEffect, useState } from "preact/hooks";
import { isCanceled } from "./api";

export interface Loaded<T> {
  data: T | null; // the last answer, also while the next is loading
  error: unknown;
  loading: boolean;
  reload: () => void;
}

interface State<T> {
  key: string;
  data: T | null;
  error: unknown;
}

/**
 * Load what `load` gives, again whenever `key` changes.
 *
 * With `keep`, the answer to the last key is shown until the next one is there. A null key loads nothing.
 */
export function useRequest<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>, keep = false): Loaded<T> {
  const [state, setState] = useState<State<T>>({ key: "", data: null, error: null });
  const [attempt, setAttempt] = useState(0);
  const wanted = `${attempt} ${key ?? ""}`;

  useEffect(() => {
    if (key === null) return;
    const controller = new AbortController();
    load(controller.signal).then(
      (data) => {
        if (!controller.signal.aborted) setState({ key: wanted, data, error: null });
      },
      (error: unknown) => {
        if (!controller.signal.aborted && !isCanceled(error)) setState({ key: wanted, data: null, error });
      },
    );
    return () => controller.abort();
  }, [wanted]);

  const reload = useCallback(() => setAttempt((number) => number + 1), []);
  const isCurrent = state.key === wanted;
  return {
    data: isCurrent || keep ? state.data : null,
    error: isCurrent ? state.error : null,
    loading: key !== null && !isCurrent,
    reload,
  };
}
