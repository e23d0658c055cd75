import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderExplained } from '../../src/cli/explain/report.ts';
import { type Column, renderTable } from '../../src/cli/output.ts';

interface Row {
  readonly name: string;
  readonly more: string;
}

const columns: readonly Column<Row>[] = [
  { title: 'NAME', value: ({ name }) => name },
  { title: 'EMPTY', value: () => '' },
  { title: 'MORE', value: ({ more }) => more, wide: true },
];

test('a table has its columns below their titles, and tells what has no value', () => {
  const rows = [
    { name: 'a-long-name', more: 'x' },
    { name: 'b', more: 'y' },
  ];
  assert.equal(
    renderTable(columns, rows, undefined),
    ['NAME          EMPTY', 'a-long-name   <none>', 'b             <none>', ''].join('\n'),
  );
  assert.equal(
    renderTable(columns, rows, 'wide'),
    ['NAME          EMPTY    MORE', 'a-long-name   <none>   x', 'b             <none>   y', ''].join('\n'),
  );
});

test('no name of others disturbs a terminal, and no message draws lines of its own', () => {
  assert.equal(
    renderTable(columns, [{ name: 'a\u001b[2J\nb', more: '' }], undefined).split('\n')[1],
    'a?[2J?b   <none>',
  );
  const problem = 'a\nNo problem was found.\u001b[2J\u202e';
  const text = renderExplained([{ pod: 'default/a', interfaces: [], devices: [], problems: [problem] }], undefined);
  assert.equal(text.split('\n').at(-2), 'PROBLEM  a No problem was found. [2J ');
});
