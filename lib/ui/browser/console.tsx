/** @jsxImportSource preact */

/** A guest's console. It shows the end, unless somebody has scrolled up. */

import { Component, createRef } from "preact";

interface Props {
  of: string;
  text: string;
  fault?: string;
}

/** It. */
export class Console extends Component<Props> {
  #box = createRef<HTMLPreElement>();
  #isAtEnd = true;

  override componentDidMount(): void {
    this.componentDidUpdate();
  }

  override componentDidUpdate(): void {
    const box = this.#box.current;
    if (box && this.#isAtEnd) box.scrollTop = box.scrollHeight;
  }

  #onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.#box.current!;
    this.#isAtEnd = scrollTop + clientHeight > scrollHeight - 20;
  };

  override render({ of, text, fault }: Props) {
    return (
      <section aria-label={`Console of ${of}`}>
        {fault ? <p class="note">{fault}</p> : text === "" && <p class="quiet">It has printed nothing yet.</p>}
        <pre
          ref={this.#box}
          class="console"
          tabIndex={0}
          aria-label={`Output of ${of}`}
          role="region"
          onScroll={this.#onScroll}
        >
          {text}
        </pre>
      </section>
    );
  }
}
