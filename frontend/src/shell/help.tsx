/** The list of keys that the present place takes. */

import { keyHelp } from "../keys";
import { Dialog } from "../components/dialog";

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" testid="keys" onClose={onClose}>
      <div class="keys">
        {keyHelp().map((layer) => (
          <section key={layer.title}>
            <h3>{layer.title}</h3>
            <dl>
              {layer.bindings.map((binding) => (
                <div key={binding.shown}>
                  <dt>
                    {binding.shown.split(" ").map((key) => (
                      <kbd key={key}>{key}</kbd>
                    ))}
                  </dt>
                  <dd>{binding.does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
