import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Devlink, decodeRunningVersions } from '../../src/linux/devlink.ts';
import { nested, text } from '../../src/linux/netlink/attribute.ts';

/** linux/devlink.h */
const [fixed, running, name, value] = [100, 101, 103, 104];

test('an answer tells the versions that run, and not those that are stored or fixed', () => {
  const version = (type: number, of: string, is: string) => nested(type, [text(name, of), text(value, is)]);
  const payload = Buffer.concat([
    Buffer.from([51, 1, 0, 0]),
    text(1, 'pci'),
    text(2, '0000:3b:00.0'),
    version(fixed, 'board.id', 'K81227-004'),
    version(running, 'fw.mgmt', '7.0.3'),
    version(running, 'fw.app.name', 'ICE COMMS Package'),
    version(running + 1, 'fw.app.name', 'ICE OS Default Package'),
  ]);
  assert.deepEqual(
    [...decodeRunningVersions(payload)],
    [
      ['fw.mgmt', '7.0.3'],
      ['fw.app.name', 'ICE COMMS Package'],
    ],
  );
  assert.equal(decodeRunningVersions(Buffer.alloc(4)).size, 0);
});

test('a device that is not there says nothing, whether the kernel knows devlink or not', async () => {
  using devlink = new Devlink();
  assert.equal(await devlink.runningVersions('pci', 'ffff:ff:1f.7'), undefined);
  assert.equal(await devlink.runningVersions('pci', 'ffff:ff:1f.7'), undefined);
});
