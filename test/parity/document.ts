import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Difference, differences } from './differences.ts';

/** `node test/parity/document.ts` writes the list of intended differences for people. */
export const documentPath = join(import.meta.dirname, '../../docs/differences-from-the-originals.md');

const head = `# Differences from the containernetworking plugins

The built-in plugins take the same configuration and give the same results as the containernetworking plugins 1.9, but
for what is listed here. Tests run both beside each other and compare everything that can be seen (test/parity); they fail
for a difference that is not listed, and for a listed one that is not seen. Messages are in words of our own: they say
what was wanted, what was found and where.

This page is written by \`node test/parity/document.ts\`, from the list in test/parity/differences.ts.

| plugin | the original | Plexus | why |
| --- | --- | --- | --- |
`;

export function renderDocument(): string {
  const all: readonly Difference[] = Object.values(differences);
  const rows = all.toSorted((a, b) => (a.plugins < b.plugins ? -1 : Number(a.plugins > b.plugins)));
  return (
    head +
    rows.map(({ plugins, original, plexus, why }) => `| ${plugins} | ${original} | ${plexus} | ${why} |\n`).join('')
  );
}

if (import.meta.main) await writeFile(documentPath, renderDocument());
