/**
 * A drawing as a list of shapes in pixels, y downwards: what plots are made of before they become SVG or
 * PNG. Colours are roles, so that one drawing serves light and dark.
 */

/** Roles of colour; `series1` … are the categories of a plot in their order. */
export const PALETTE = {
  surface: { light: '#ffffff', dark: '#14181d' },
  text: { light: '#1c2126', dark: '#e6e9ec' },
  faint: { light: '#5d6872', dark: '#9aa6b0' },
  grid: { light: '#d9dee2', dark: '#333b43' },
  untouched: { light: '#e9ecef', dark: '#262d34' },
  series1: { light: '#2a6fbb', dark: '#5b9fe6' },
  series2: { light: '#d98324', dark: '#eda04c' },
  series3: { light: '#3a8f5c', dark: '#5fbf86' },
  series4: { light: '#8d5bb5', dark: '#b48bd8' },
  series5: { light: '#a03e4f', dark: '#de7486' },
  series6: { light: '#00808a', dark: '#3fc0c9' },
  series7: { light: '#8a7a1f', dark: '#cfbb4a' },
  series8: { light: '#c4557f', dark: '#f08fb4' },
} as const;

export type Role = keyof typeof PALETTE;

export interface Rectangle {
  readonly kind: 'rectangle';
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly fill: Role;
  /** Shown when pointed at. */
  readonly title?: string;
}

/** A line one pixel wide. */
export interface Line {
  readonly kind: 'line';
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
  readonly stroke: Role;
}

/** One line of text; `y` is its baseline. */
export interface Label {
  readonly kind: 'text';
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly anchor: 'start' | 'middle' | 'end';
  readonly fill: Role;
  readonly bold?: boolean;
}

export type Shape = Rectangle | Line | Label;

export interface Drawing {
  readonly title: string;
  readonly width: number;
  readonly height: number;
  readonly shapes: readonly Shape[];
}

/** Height of text in all drawings, and the width that is reckoned with for a character. */
export const FONT_SIZE = 12;
export const CHARACTER_WIDTH = 6.6;

/** Round numbers from 0 to at least `highest`, at most `count` steps. */
export function ticks(highest: number, count = 6): number[] {
  if (!(highest > 0)) return [0, 1];
  const rough = highest / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const steps = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: steps + 1 }, (_, index) => index * step);
}
