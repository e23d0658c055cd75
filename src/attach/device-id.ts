/**
 * Whether a text can be the id of a device: a PCI address, the name of an auxiliary device, an interface's name with a
 * number, whatever a device plugin calls its devices. Ids become parts of file names and of plugins' configurations.
 */
export const isDeviceId = (text: string): boolean => /^\w[\w.:@+=/-]{0,127}$/.test(text) && !text.includes('..');

/** What it is, for messages. */
export const deviceIdForm = 'the id of a device: 1 to 128 letters, digits and ". : @ + = / _ -", without ".."';
