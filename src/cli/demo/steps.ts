/**
 * Runs the demo's steps one after the other and shows them: numbered, with a tick and the time.
 *
 * The spinner is drawn here and not by @clack/prompts: that one takes Ctrl-C away from the program and
 * ends the process at once, with mounts and daemons left behind and exit code 0.
 */
import { writeSync } from 'node:fs';
import { styleText } from 'node:util';
import { demoSpinnerMilliseconds } from '../../lib/limits.ts';
import type { Output } from '../output.ts';
import { printable } from '../output.ts';
import type { StepReport } from './report.ts';

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const lineStart = '\r\u001b[2K';

export class Steps {
  readonly reports: StepReport[] = [];
  readonly #output: Output;
  readonly #total: number;
  readonly #isLive: boolean;
  current = '';

  constructor(output: Output, total: number) {
    this.#output = output;
    this.#total = total;
    this.#isLive = output.format === 'text' && process.stderr.isTTY;
  }

  /** `act` resolves to what there is to say about it. */
  async run(step: string, title: string, act: (say: (text: string) => void) => Promise<string>): Promise<void> {
    this.current = step;
    const number = `${this.reports.length + 1}/${this.#total}`;
    const start = performance.now();
    const seconds = (): number => Math.round(performance.now() - start) / 1000;
    let now = '';
    const stopSpinner = this.#spin(() => `${number}  ${title}${now === '' ? '' : `: ${now}`}`);
    const record = (passed: boolean, detail: string): void => {
      stopSpinner();
      const mark = passed ? this.#colour('green', '✓') : this.#colour('red', '✗');
      const time = this.#colour('dim', `(${seconds().toFixed(1)} s)`);
      this.#output.note(`${mark} ${number}  ${title}: ${printable(detail)} ${time}`);
      this.reports.push({ step, title, passed, seconds: seconds(), detail });
    };
    try {
      record(true, await act((text) => (now = text)));
    } catch (error) {
      record(false, error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  #spin(line: () => string): () => void {
    if (!this.#isLive) return () => undefined;
    let frame = 0;
    const turn = (): void => {
      const columns = process.stderr.columns || 80;
      const text = `${frames[frame++ % frames.length]} ${printable(line())}`;
      draw(lineStart + text.substring(0, columns - 1));
    };
    turn();
    const timer = setInterval(turn, demoSpinnerMilliseconds);
    return () => {
      clearInterval(timer);
      draw(lineStart);
    };
  }

  #colour(style: 'green' | 'red' | 'dim', text: string): string {
    return this.#isLive ? styleText(style, text, { stream: process.stderr }) : text;
  }
}

/** A terminal that was closed must end the demo by its signal, which cleans up, not by an error of a write. */
function draw(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // Nobody is looking any more, or the terminal is slow: the next turn draws again.
  }
}
