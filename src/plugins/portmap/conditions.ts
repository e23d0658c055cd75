/*
 * Conditions are pieces of other programs' languages, written by whoever may write a network. They may say what packets a
 * mapping is for, and nothing else: neither another command, nor another table, nor a program to run.
 */

/** iptables(8): --modprobe names a program, which is run; an abbreviation will do. */
const refusedOptions = ['modprobe', 'table', 'jump', 'goto'];
const shortOptions = ['-s', '-d', '-p', '-m', '-i', '-o', '-f'];

/**
 * Looks at one word of a condition of iptables.
 *
 * @returns What is wrong with it.
 */
export function iptablesCondition(word: string): string | undefined {
  if (/[^\x20-\x7e]/.test(word)) return `${JSON.stringify(word)} has characters that iptables does not take`;
  if (!word.startsWith('-') || shortOptions.includes(word)) return undefined;
  const name = /^--([a-z0-9][a-z0-9-]*)$/.exec(word)?.[1];
  if (name !== undefined && !refusedOptions.some((option) => option.startsWith(name))) return undefined;
  return `${JSON.stringify(word)} is not an option that says what a packet is like`;
}

/** A word as iptables-restore(8) reads it back, whatever is in it. */
export const quotedWord = (word: string): string => `"${word.replaceAll(/["\\]/g, '\\$&')}"`;

/** All that nft(8) needs for expressions; what ends a command, begins a comment or stands for a variable is not among it. */
const expression = /^[\w .:/@!=<>&|^,(){}"*+~-]*$/;

/** Statements of nft(8) that do something. Behind a verdict, among which are translations, nft takes nothing itself. */
const statement = /(^|[^\w.-])(set|log|queue|dup|fwd|notrack|tproxy|synproxy|flow|add|update|delete)($|[^\w.-])/;

/** The same for nftables. */
export function nftablesCondition(word: string): string | undefined {
  if (!expression.test(word)) return `${JSON.stringify(word)} has characters that no expression of nft has`;
  if (statement.test(word)) return `${JSON.stringify(word)} does not say what a packet is like`;
  return undefined;
}
