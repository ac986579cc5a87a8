// The dialog before anything is changed: what will happen, the command line that does the same, and what came of it.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { carryOut as change, Problem } from '../api/client';
import { announce } from '../api/live';
import { refusalOf, useShell, type Action, type Field, type Values } from '../shell';
import { CommandLine } from './command_line';
import { Modal } from './modal';

type Outcome = { kind: 'asked' } | { kind: 'under-way'; step: string | null } | { kind: 'done'; told: string } | { kind: 'failed'; problem: Problem };

export function Confirm(props: { action: Action; onClose: () => void }): JSX.Element {
  const { action } = props;
  const { session } = useShell();
  const [values, setValues] = useState<Values>(() =>
    Object.fromEntries((action.fields ?? []).map((field) => [field.name, field.initial])),
  );
  const [outcome, setOutcome] = useState<Outcome>({ kind: 'asked' });
  const [isAware, setAware] = useState(false);
  const refusal = refusalOf(session, action);
  const isBlocked = refusal !== null || (Boolean(action.harm) && !isAware) || outcome.kind === 'under-way';

  const carryOut = async (): Promise<void> => {
    setOutcome({ kind: 'under-way', step: null });
    try {
      const answer = await change<unknown>(action.request(values), (step) => {
        setOutcome({ kind: 'under-way', step });
        announce(null);
      });
      setOutcome({ kind: 'done', told: action.told?.(answer) ?? 'The page shows the new state as soon as the node reports it.' });
      announce(null);
    } catch (error) {
      setOutcome({ kind: 'failed', problem: error instanceof Problem ? error : new Problem(0, String(error)) });
      announce(null);
    }
  };
  const onSubmit = (event: Event): void => {
    event.preventDefault();
    if (!isBlocked) {
      void carryOut();
    }
  };

  if (outcome.kind === 'done') {
    return <Done title={action.title} told={outcome.told} onClose={props.onClose} />;
  }
  return (
    <Modal title={action.title} onClose={props.onClose} isWide={action.preview !== undefined}>
      <form onSubmit={onSubmit}>
        <p>{action.effect}</p>
        {(action.fields ?? []).map((field) => (
          <Input
            key={field.name}
            field={field}
            value={values[field.name] ?? ''}
            onInput={(value) => setValues({ ...values, [field.name]: value })}
          />
        ))}
        {action.preview?.(values)}
        <CommandLine text={action.command(values)} />
        {action.harm && (
          <label class="harm">
            <input type="checkbox" checked={isAware} onChange={(event) => setAware(event.currentTarget.checked)} />
            <span>{action.harm}</span>
          </label>
        )}
        {refusal !== null && <p class="refusal">{refusal}</p>}
        {outcome.kind === 'under-way' && outcome.step !== null && (
          <p role="status" class="quiet">
            {outcome.step}. It goes on if this is closed.
          </p>
        )}
        {outcome.kind === 'failed' && (
          <div class="failure" role="alert">
            <p>{outcome.problem.message}</p>
            {outcome.problem.hint !== null && <p class="quiet">{outcome.problem.hint}</p>}
          </div>
        )}
        <div class="buttons">
          <button type="submit" class={action.harm ? 'primary danger' : 'primary'} disabled={isBlocked}>
            {outcome.kind === 'under-way' ? 'Under way…' : action.title.split(' ')[0]}
          </button>
          <button type="button" onClick={props.onClose}>
            {outcome.kind === 'under-way' ? 'Close' : 'Cancel'}
          </button>
        </div>
      </form>
    </Modal>
  );
}

function Done(props: { title: string; told: string; onClose: () => void }): JSX.Element {
  const close = useRef<HTMLButtonElement>(null);
  useEffect(() => close.current?.focus(), []);
  return (
    <Modal title={props.title} onClose={props.onClose}>
      <p role="status" class="done">
        Done. {props.told}
      </p>
      <div class="buttons">
        <button type="button" class="primary" ref={close} onClick={props.onClose}>
          Close
        </button>
      </div>
    </Modal>
  );
}

function Input(props: { field: Field; value: string; onInput: (value: string) => void }): JSX.Element {
  const { field } = props;
  if (field.kind === 'lines') {
    return (
      <label class="field">
        <span>{field.label}</span>
        <textarea
          name={field.name}
          rows={14}
          spellcheck={false}
          value={props.value}
          required={!(field.optional ?? false)}
          onInput={(event) => props.onInput(event.currentTarget.value)}
        />
      </label>
    );
  }
  const limits = field.kind === 'number' ? { min: field.min, max: field.max, step: 1, inputMode: 'numeric' as const } : {};
  return (
    <label class="field">
      <span>{field.label}</span>
      <input
        name={field.name}
        type={field.kind}
        value={props.value}
        required={!(field.optional ?? false)}
        {...limits}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
    </label>
  );
}
