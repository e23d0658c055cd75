import { subscribe } from 'node:diagnostics_channel';

/*
 * Loaded into a daemon (`node --import`): ends it as a power cut would, at the step that KILL_AT_STEP numbers. Steps are
 * what the journal, netlink, host-local, device information and the spool tell of, from 1.
 */

const killAt = Number(process.env['KILL_AT_STEP']);
let step = 0;

for (const name of ['plexus:journal', 'plexus:netlink', 'plexus:host-local', 'plexus:device-info', 'plexus:spool']) {
  subscribe(name, () => {
    step++;
    if (step === killAt) process.kill(process.pid, 'SIGKILL');
  });
}
