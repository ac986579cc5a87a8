// A command line that does what a button does, to be copied.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

export function CommandLine(props: { text: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  const copy = (): void => {
    void navigator.clipboard?.writeText(props.text).then(() => setCopied(true));
  };
  return (
    <div class="command">
      <code>{props.text}</code>
      <button type="button" onClick={copy} aria-label="Copy the command line">
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}
