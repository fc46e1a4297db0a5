/** Drawings as SVG (W3C, Scalable Vector Graphics 2). */
import { type Drawing, FONT_SIZE, PALETTE, type Role, type Shape } from './drawing.js';

/** Text for XML, HTML included. */
export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** Colours as custom properties, which follow the reader's preference. */
export function paletteCss(selector: string): string {
  const block = (mode: 'light' | 'dark'): string =>
    (Object.keys(PALETTE) as Role[]).map((role) => `--${role}:${PALETTE[role][mode]}`).join(';');
  return [
    `${selector}{${block('light')}}`,
    `@media (prefers-color-scheme:dark){${selector}{${block('dark')}}}`,
  ].join('\n');
}

const round = (value: number): string => String(Math.round(value * 100) / 100);

function shapeText(shape: Shape): string {
  if (shape.kind === 'line') {
    const { x1, y1, x2, y2, stroke } = shape;
    return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" style="stroke:var(--${stroke})"/>`;
  }
  if (shape.kind === 'text') {
    const { x, y, text, anchor, fill, bold } = shape;
    const weight = bold === true ? ';font-weight:600' : '';
    return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" style="fill:var(--${fill})${weight}">${escapeXml(text)}</text>`;
  }
  const { x, y, width, height, fill, title } = shape;
  const position = `x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"`;
  const style = `style="fill:var(--${fill})"`;
  if (title === undefined) return `<rect ${position} ${style}/>`;
  return `<rect ${position} ${style}><title>${escapeXml(title)}</title></rect>`;
}

/** @param standalone whether it is a file of its own, with its colours and background in it */
export function toSvg(drawing: Drawing, standalone: boolean): string {
  const { width, height, title, shapes } = drawing;
  const font = `font-family:system-ui,sans-serif;font-size:${FONT_SIZE}px`;
  const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(title)}" style="${font}"`;
  const body = shapes.map(shapeText).join('\n');
  if (!standalone) return `${head} width="${width}">\n${body}\n</svg>`;
  const background = `<rect width="${width}" height="${height}" style="fill:var(--surface)"/>`;
  return `${head} width="${width}" height="${height}">\n<style>${paletteCss('svg')}</style>\n${background}\n${body}\n</svg>\n`;
}
