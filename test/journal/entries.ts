import { decodeEntry, type Entry, encodeLine, type Plan, type PlannedAttachment } from '../../src/journal/entry.ts';

const attachment: PlannedAttachment = {
  network: 'n',
  ifName: 'eth0',
  isDefault: true,
  config: '{"cniVersion":"1.0.0","type":"x"}',
  defaultName: 'n',
  source: 'the test',
  runtimeConfig: {},
  cniArgs: {},
};

/** The entry of a sandbox with one attachment, which has a result once it is complete. */
export function entryOf(plan: Partial<Plan> = {}, of: Partial<PlannedAttachment> = {}, complete = true): Entry {
  const whole: Plan = {
    version: 1,
    containerId: 'c1',
    ifName: 'eth0',
    netns: '/run/netns/plx-none',
    args: '',
    attachments: [{ ...attachment, ...of }],
    plannedAt: 0,
    ...plan,
  };
  const steps = whole.attachments.map(({ ifName }) =>
    encodeLine({ step: 'added', ifName, result: { cniVersion: '1.0.0' } }),
  );
  return decodeEntry([encodeLine(whole), ...(complete ? [...steps, encodeLine({ step: 'complete' })] : [])].join(''));
}
