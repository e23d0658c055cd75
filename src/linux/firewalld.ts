import { access } from 'node:fs/promises';
import { CommandError, runCommand } from './command.ts';

/*
 * firewalld's zones, by its D-Bus interface (firewalld.dbus(5)) through dbus-send(1). What is set so lasts until firewalld
 * ends.
 */

const standardBus = 'unix:path=/var/run/dbus/system_bus_socket';

/** Milliseconds: firewalld writes a whole ruleset for some changes. */
const replyTimeout = 20_000;

/** Whether firewalld is on the system bus. A node without dbus-send is taken for one without firewalld. */
export async function isFirewalldRunning(): Promise<boolean> {
  const path = /^unix:path=([^,;]+)$/.exec(bus())?.[1];
  try {
    if (path !== undefined) await access(path);
    await send('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus.GetNameOwner', [
      'string:org.fedoraproject.FirewallD1',
    ]);
    return true;
  } catch {
    return false;
  }
}

/**
 * Puts what comes from an address into a zone; no error where it is there.
 *
 * @param source Such as `10.1.2.3/32`.
 * @throws {CommandError} such as that there is no such zone, or that the source is in another.
 */
export async function addSource(zone: string, source: string): Promise<void> {
  await unless(/ZONE_ALREADY_SET/, callZone('addSource', zone, source));
}

/** The opposite of {@link addSource}; no error where it is not there, be it that there is no such zone. */
export async function removeSource(zone: string, source: string): Promise<void> {
  await unless(/UNKNOWN_SOURCE|ZONE_CONFLICT|INVALID_ZONE/, callZone('removeSource', zone, source));
}

export async function hasSource(zone: string, source: string): Promise<boolean> {
  return (await callZone('querySource', zone, source)).includes('boolean true');
}

function callZone(method: string, zone: string, source: string): Promise<string> {
  return send(
    'org.fedoraproject.FirewallD1',
    '/org/fedoraproject/FirewallD1',
    `org.fedoraproject.FirewallD1.zone.${method}`,
    [`string:${zone}`, `string:${source}`],
  );
}

function send(name: string, path: string, method: string, args: readonly string[]): Promise<string> {
  const options = [`--bus=${bus()}`, '--print-reply', `--reply-timeout=${replyTimeout}`, `--dest=${name}`];
  return runCommand('dbus-send', [...options, path, method, ...args]);
}

const bus = (): string => process.env['DBUS_SYSTEM_BUS_ADDRESS'] || standardBus;

/** firewalld's errors begin with a word of its own (firewall/errors.py). */
async function unless(words: RegExp, reply: Promise<string>): Promise<string> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof CommandError && words.test(error.stderr)) return '';
    throw error;
  }
}
