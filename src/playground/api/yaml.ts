import { type Document, parseAllDocuments } from 'yaml';

/** Lines that are put right in one text. Each costs a look at all of it. */
const maxRepairs = 100;

/** Deeper than any key stands. */
const indentation = ' '.repeat(64);

/**
 * Reads YAML documents, and takes what kubectl takes: a quoted text may go on in lines that are not indented, which YAML 1.2
 * forbids (section 7.3), and which is how nearly every NetworkAttachmentDefinition ends:
 *
 *     spec:
 *       config: '{
 *         "type": "ipvlan"
 *       }'
 *
 * White space at the start of such lines is no part of the text (section 6.5), so that they may be indented first.
 *
 * @returns The documents, with their errors.
 */
export function parseYaml(text: string): Document.Parsed[] {
  const strict = [...parseAllDocuments(text)];
  let documents = strict;
  let repaired = text;
  for (let repairs = 0; repairs < maxRepairs; repairs++) {
    const at = brokenOffLine(documents, repaired);
    if (at === undefined) break;
    repaired = repaired.slice(0, at) + indentation + repaired.slice(at);
    documents = [...parseAllDocuments(repaired)];
  }
  return documents.some(({ errors }) => errors.length > 0) ? strict : documents;
}

/** Where the line begins before which a quoted text was taken to end without its quote. */
function brokenOffLine(documents: readonly Document.Parsed[], text: string): number | undefined {
  const [first] = documents.flatMap(({ errors }) => errors);
  if (first?.code !== 'MISSING_CHAR') return undefined;
  const newline = text.indexOf('\n', first.pos[0]);
  const at = newline + 1;
  return newline < 0 || /^(---|\.\.\.|\s*$)/.test(text.slice(at)) ? undefined : at;
}
