/** What all pages of measurements are made of: self-contained HTML that follows the reader's colours. */
import type { Drawing } from './plot/drawing.js';
import { escapeXml, paletteCss, toSvg } from './plot/svg.js';

/** What a cell begins with that holds words. */
const TEXT = /^[^\d+±–]/;

/** A table; the first column is text, the others figures unless they are no numbers. */
export function table(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  source: string,
): string {
  const cell = (text: string, index: number): string =>
    index === 0
      ? `<th scope="row">${escapeXml(text)}</th>`
      : `<td${TEXT.test(text) ? ' class="text"' : ''}>${escapeXml(text)}</td>`;
  const isText = (index: number): boolean => TEXT.test(rows[0]?.[index] ?? '');
  const title = (text: string, index: number): string =>
    `<th scope="col"${isText(index) ? ' class="text"' : ''}>${escapeXml(text)}</th>`;
  return `<section><h2>${escapeXml(caption)}</h2><div class="wide"><table>
<thead><tr>${head.map(title).join('')}</tr></thead>
<tbody>${rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`).join('\n')}</tbody>
</table></div><p class="source">Source: ${escapeXml(source)}</p></section>`;
}

/** A plot as a section of its own. */
export function plotSection(drawing: Drawing): string {
  return `<section><div class="wide">${toSvg(drawing, false)}</div></section>`;
}

/** Names and values; those without a value are left out. */
export function definitions(
  caption: string,
  rows: readonly (readonly [name: string, value: string | null])[],
): string {
  const items = rows.flatMap(([name, value]) =>
    value === null ? [] : `<dt>${escapeXml(name)}</dt><dd><code>${escapeXml(value)}</code></dd>`,
  );
  return `<section><h2>${escapeXml(caption)}</h2><dl>${items.join('\n')}</dl></section>`;
}

const CSS = `${paletteCss(':root')}
:root{color-scheme:light dark}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:64rem;background:var(--surface);color:var(--text);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.1rem;margin:2rem 0 .5rem}
.wide{overflow-x:auto}
svg{display:block;min-width:44rem;max-width:100%;height:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.25rem .75rem .25rem 0;text-align:right;border-bottom:1px solid var(--grid);vertical-align:top}
th:first-child{text-align:left;font-weight:400;min-width:11rem}
thead th{font-weight:600;vertical-align:bottom}
thead th:first-child{font-weight:600}
td.text,th.text{text-align:left}
.source{color:var(--faint);font-size:.85rem;margin:.4rem 0}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1rem;font-size:.9rem}
dt{color:var(--faint)}
dd{margin:0;overflow-wrap:anywhere}
@media(max-width:40rem){dl{grid-template-columns:minmax(0,1fr)}dd{margin-bottom:.5rem}}`;

/** The page as text of an HTML file that refers to nothing outside. */
export function htmlPage(title: string, kind: string, sections: readonly string[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(title)}</title>
<style>${CSS}</style>
</head>
<body class="${kind}">
<h1>${escapeXml(title)}</h1>
${sections.join('\n')}
</body>
</html>
`;
}
