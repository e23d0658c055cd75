import assert from 'node:assert/strict';
import { test } from 'node:test';
import { links } from '../../src/linux/link.ts';
import { Attributes, bytes, nested } from '../../src/linux/netlink/attribute.ts';
import type { Request } from '../../src/linux/netlink/request.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { type VfAttributes, vfs, vlanProtocols } from '../../src/linux/vf.ts';
import { testNamespace } from '../support/namespace.ts';

/* Without SR-IOV hardware; test/vm/guest/sriov.test.ts has some. */

const ifinfomsg = 16;
const IFLA_ADDRESS = 1;
const IFLA_VFINFO_LIST = 22;

const attributes: VfAttributes = {
  mac: '02:00:5e:00:00:01',
  vlan: { id: 4094, qos: 5, protocol: vlanProtocols['802.1ad'] },
  rate: { min: 100, max: 100_000 },
  linkState: 'disable',
  spoofCheck: true,
  trust: false,
};

test('each attribute is a structure of linux/if_link.h', () => {
  const requests = vfs.set(7, 3, attributes);
  assert.deepEqual(
    requests.map(({ operation }) => operation),
    ['vlan 4094 qos 5', 'mac 02:00:5e:00:00:01', 'min_tx_rate 100 max_tx_rate 100000', 'spoofchk on', 'trust off']
      .concat('state disable')
      .map((what) => `set ${what} of virtual function 3 of interface number 7`),
  );
  assert.deepEqual(
    requests.map((request) => infoOf(request).toString('hex')),
    [
      `18000c80140001${'00'}03000000fe0f00000500000088a80000`,
      `28000100${'03000000'}02005e000001${'00'.repeat(26)}`,
      `10000600${'03000000'}64000000a0860100`,
      `0c000400${'03000000'}01000000`,
      `0c000900${'03000000'}00000000`,
      `0c000500${'03000000'}02000000`,
    ],
  );
});

test('what is set is read back as it was set', () => {
  const info = Buffer.concat(vfs.set(7, 3, attributes).map(infoOf));
  assert.deepEqual(vfs.list(7).decode([answer(info)]), [{ number: 3, ...attributes }]);
});

test('a driver that knows no VLAN protocol, and neither spoof check nor trust, is understood', () => {
  const zero = vfs.set(7, 0, { mac: '00:00:00:00:00:00', linkState: 'auto' }).map(infoOf);
  const numbers = (...values: number[]) => Buffer.from(Uint32Array.from(values).buffer);
  const info = Buffer.concat([...zero, bytes(2, numbers(0, 9, 1)), bytes(4, numbers(0, -1)), bytes(9, numbers(0, -1))]);
  assert.deepEqual(vfs.list(7).decode([answer(info)]), [
    {
      number: 0,
      mac: '00:00:00:00:00:00',
      vlan: { id: 9, qos: 1, protocol: 0x8100 },
      rate: { min: 0, max: 0 },
      linkState: 'auto',
      spoofCheck: undefined,
      trust: undefined,
    },
  ]);
});

test('an interface without virtual functions has none, and refuses each attribute for what it is', async () => {
  await using own = await testNamespace();
  using netlink = Rtnetlink.open(own.namespace);
  const [lo] = await netlink.run(links.get({ name: 'lo' }));
  assert.deepEqual(await netlink.run(vfs.list(lo.index)), [[]]);
  const outcomes = await netlink.settle(...vfs.set(lo.index, 0, attributes));
  const codes = outcomes.map((outcome) => (outcome.ok ? 'done' : outcome.error.code));
  assert.deepEqual(
    codes,
    outcomes.map(() => 'EOPNOTSUPP'),
  );
});

/** The attribute inside IFLA_VF_INFO of a request. */
function infoOf({ payload }: Request<void>): Buffer {
  const list = Attributes.decode(payload.subarray(ifinfomsg)).nested(IFLA_VFINFO_LIST);
  return list?.bytes(1) ?? Buffer.alloc(0);
}

/** The kernel's answer for one virtual function. */
function answer(info: Buffer): Buffer {
  const address = bytes(IFLA_ADDRESS, Buffer.alloc(6));
  return Buffer.concat([Buffer.alloc(ifinfomsg), address, nested(IFLA_VFINFO_LIST, [bytes(1, info)])]);
}
