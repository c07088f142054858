/** @jsxImportSource preact */

/** The question before something is made or dropped. The browser keeps the focus in it, and gives it back. */

import { Component, createRef } from "preact";
import type { Wish } from "../view.ts";
import { change, type Question, wish } from "./store.ts";

interface Words {
  title: string;
  text: string;
  label: string;
  button: string;
  isDanger?: boolean;
  /** What is asked for, with what was typed. */
  wish: (typed: string) => Wish;
}

function wordsOf(question: Question): Words {
  switch (question.kind) {
    case "fork":
      return {
        title: `Fork ${question.source}`,
        text: "A new instance continues where it is, with its own secrets, clock and ports.",
        label: "Name of the new instance",
        button: "Fork",
        wish: (name) => ({ verb: "fork", source: question.source, name }),
      };
    case "save":
      return {
        title: `Save ${question.instance}`,
        text: "A checkpoint keeps it as it is now: memory, disk and secrets. It stands still for a moment.",
        label: "Name of the checkpoint",
        button: "Save",
        wish: (name) => ({ verb: "save", instance: question.instance, name }),
      };
    case "reset":
      return {
        title: `Reset ${question.instance}?`,
        text: "Its disk, its saved memory, its secrets and its console are removed. This cannot be undone.",
        label: `Type ${question.instance} to confirm it`,
        button: "Reset",
        isDanger: true,
        wish: (confirmed) => ({ verb: "reset", instance: question.instance, confirmed }),
      };
  }
}

/** It. */
export class QuestionDialog extends Component<{ question: Question }> {
  #dialog = createRef<HTMLDialogElement>();
  #input = createRef<HTMLInputElement>();

  override componentDidMount(): void {
    this.#dialog.current!.showModal();
  }

  override componentWillUnmount(): void {
    this.#dialog.current?.close(); // gives the focus back
  }

  override render({ question }: { question: Question }) {
    const words = wordsOf(question);
    const close = () => change({ question: undefined });
    const submit = (event: Event) => {
      event.preventDefault();
      wish(words.wish(this.#input.current!.value.trim()));
      close();
    };
    return (
      <dialog ref={this.#dialog} aria-labelledby="question" aria-describedby="question-text" onCancel={close}>
        <form onSubmit={submit}>
          <h2 id="question">{words.title}</h2>
          <p id="question-text">{words.text}</p>
          <label>
            {words.label}
            <input ref={this.#input} required autocomplete="off" spellcheck={false} />
          </label>
          <div class="buttons">
            <button type="submit" class={words.isDanger ? "danger" : "main"}>{words.button}</button>
            <button type="button" onClick={close}>Cancel</button>
          </div>
        </form>
      </dialog>
    );
  }
}
