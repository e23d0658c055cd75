import { describeFound, type Found } from './compare.ts';

/** Something that Plexus does otherwise than the containernetworking plugins 1.9, on purpose. */
export interface Difference {
  /** The plugins that it is seen with; `all` for what they share. */
  readonly plugins: string;
  readonly original: string;
  readonly plexus: string;
  readonly why: string;
  /** It may be seen wherever it likes; otherwise a case must say so. */
  readonly anywhere?: boolean;
  /** What it is seen as: `path: Go's | that of Plexus`, each as JSON or `nothing`. */
  readonly seen: RegExp;
}

/**
 * Every intended difference. A case that names one fails where it is not seen any more, and
 * docs/differences-from-the-originals.md is made of these.
 */
export const differences = {
  'error-version': {
    plugins: 'all',
    original: 'an error says no cniVersion',
    plexus: 'it says that of the configuration',
    why: 'the specification has it among the keys of an error',
    anywhere: true,
    seen: /\/error\/cniVersion: nothing \| "\d\.\d\.\d"$/,
  },
  'configuration-code': {
    plugins: 'all',
    original: 'a configuration that cannot work fails with code 999',
    plexus: 'it fails with code 7, invalid network configuration',
    why: 'the specification has this code for it, and the message names the key',
    seen: /\/error\/code: 999 \| 7$/,
  },
  'namespace-code': {
    plugins: 'all',
    original: 'a namespace that is gone fails with code 999',
    plexus: 'it fails with code 8, invalid network namespace',
    why: 'a runtime can tell a sandbox that ended from a network that is broken',
    seen: /\/error\/code: 999 \| 8$/,
  },
  'nothing-half-made': {
    plugins: 'all',
    original: 'an ADD that fails leaves what it had made by then',
    plexus: 'it leaves nothing',
    why: 'the next try must not fail because of what the last one left',
    seen: /^\d+ (ADD|DEL)\/(node|pod|disk)\//,
  },
  'route-scope-link': {
    plugins: 'all interface plugins',
    original: 'a route of scope link without a gateway gets the gateway of its family, which the kernel refuses',
    plexus: 'it gets none',
    why: 'scope link says that there is no gateway',
    seen: /^\d+ (ADD|CHECK)\/(error|result|pod|disk)/,
  },
  'route-metrics': {
    plugins: 'all interface plugins',
    original: "a route's mtu and advmss are in the result, and the kernel is not told",
    plexus: 'the kernel is told',
    why: 'what the result says is true',
    seen: /^\d+ (ADD|CHECK)\/pod\/routes\/.*\/metrics: nothing \| \[/,
  },
  'check-route-table': {
    plugins: 'all interface plugins',
    original: 'CHECK looks for every route in the main table, and fails for a route in another',
    plexus: 'it looks in the table that the route is in',
    why: 'the attachment is as ADD left it',
    seen: /^\d+ CHECK\/(error: \{"code":999\} \| nothing|result: nothing \| \{\})$/,
  },
  gc: {
    plugins: 'all interface plugins',
    original: 'GC does nothing',
    plexus: 'GC has the IPAM plugin release the addresses of attachments that are no longer valid',
    why: 'an address does not outlive a lost DEL',
    seen: /^\d+ GC\/disk\/.* \| nothing$/,
  },
  'del-broken-configuration': {
    plugins: 'all',
    original: 'a DEL fails while the configuration is wrong, although it was right at ADD',
    plexus: 'it releases what it can find',
    why: 'a pod that cannot be deleted is worse than a wrong key',
    seen: /^\d+ DEL\/(error: \{"code":999\} \| nothing|result: nothing \| \{\})$/,
  },
  'check-needs-result': {
    plugins: 'host-local',
    original: 'a CHECK without prevResult succeeds',
    plexus: 'it fails with code 7',
    why: 'the specification requires prevResult',
    seen: /^\d+ CHECK\/(result: \{\} \| nothing|error: nothing \| \{"code":7,"cniVersion":"1\.1\.0"\}|disk\/)/,
  },
  'no-empty-directory': {
    plugins: 'host-local',
    original: 'a DEL in a network without reservations makes a directory for it, and a lock',
    plexus: 'it makes nothing',
    why: 'a DEL that is repeated for a network that was removed leaves no trace of it',
    seen: /^\d+ DEL\/disk\/test-net: \{"lock":.* \| nothing$/,
  },
  'all-or-nothing': {
    plugins: 'host-local',
    original: 'an ADD that fails may have moved on which address is given next',
    plexus: 'it has changed nothing',
    why: 'a failed ADD leaves nothing',
    seen: /^\d+ (ADD|DEL)\/disk\/test-net\/last_reserved_ip\.\d: \{.* \| nothing$/,
  },
  'tuning-sysctl': {
    plugins: 'tuning',
    original: 'DEL leaves sysctls as ADD set them',
    plexus: 'it gives back the values that they had',
    why: 'the network may be taken from a pod that goes on running',
    seen: /^\d+ (ADD|CHECK|DEL)\/(disk\/tuning|pod\/sysctls\/)/,
  },
  'tuning-check': {
    plugins: 'tuning',
    original: 'CHECK fails for an interface that somebody listens on promiscuously',
    plexus: 'it does not',
    why: 'the attachment is as ADD left it',
    seen: /^\d+ CHECK\/(error: \{"code":999\} \| nothing|result: nothing \| \{\})$/,
  },
  'tuning-first-backup': {
    plugins: 'tuning',
    original: 'a second ADD notes what the first one set, and DEL gives that back',
    plexus: 'what the interface was before the first is kept, and given back',
    why: 'the interface is as it was before both',
    seen: /^\d+ (ADD|DEL)\/(disk\/tuning\/|pod\/(links\/net1|sysctls\/net1\/ipv6) ?\/?mtu)/,
  },
  'tuning-backup-gone': {
    plugins: 'tuning',
    original: 'where the interface or the namespace is gone, DEL leaves its file',
    plexus: 'it removes it',
    why: 'nothing is left to give back',
    seen: /^\d+ DEL\/disk\/tuning\/.* \| nothing$/,
  },
  'portmap-owner': {
    plugins: 'portmap',
    original:
      'with nftables, rules say which container they are for, and a DEL in one network takes the mappings of all',
    plexus: 'the chain plexus_owners says of which network an address is, and a DEL takes the mappings of that one',
    why: 'a pod may have mappings in two networks',
    anywhere: true,
    seen: /\/node\/filter\/table ip6? cni_hostport, chain plexus_owners: nothing \| \[/,
  },
  'portmap-again': {
    plugins: 'portmap',
    original: 'an ADD again keeps what the one before had mapped; with nftables, the same rules are there twice',
    plexus: 'what the interface had is replaced',
    why: 'what leads to a container is what was asked for last',
    seen: /^\d+ (ADD|CHECK)\/node\/filter\/(\*nat|table ip6? cni_hostport, chain )/,
  },
  'portmap-latest': {
    plugins: 'portmap',
    original: 'of two containers with one port, the one that came first has it',
    plexus: 'the one that came last has it',
    why: "the other one's DEL was lost; later versions of the original do so, too",
    seen: /^\d+ (ADD|CHECK|DEL)\/node\/filter\/(\*nat|table ip6? cni_hostport, chain (hostports|masquerading)\/)/,
  },
  'portmap-conditions': {
    plugins: 'portmap',
    original: 'with nftables, the conditions of the container that came last are those of all',
    plexus: 'they are in the rules of the container that they were given for',
    why: 'a network must not open or close the ports of another',
    seen: /^\d+ (ADD|CHECK|DEL)\/node\/filter\/table ip6? cni_hostport, chain (hostports|prerouting|output)\//,
  },
  'portmap-neighbours': {
    plugins: 'portmap',
    original: 'with nftables, a pod does not reach a port of the node that leads to another pod of its own subnet',
    plexus: 'it does: with snat, it is seen to come from the node, as with iptables',
    why: 'the other pod would answer it past the node, by an address that it did not ask',
    anywhere: true,
    seen: /\/node\/filter\/table ip6? cni_hostport, chain masquerading\/\d: nothing \| "ip6? saddr \S+\/\d+ ip6? daddr \S+ ct status dnat masquerade/,
  },
  'portmap-backend': {
    plugins: 'portmap',
    original: 'conditions of nftables fail without a backend, where the node has iptables',
    plexus: 'they are taken',
    why: 'no other backend can be meant',
    seen: /^\d+ (ADD|CHECK|DEL)\/(error: \{"code":999\} \| nothing|result: nothing \| |node\/(filter\/table ip6? cni_hostport|sysctls\/ens5\/ipv4 route_localnet))/,
  },
  'portmap-masq-all': {
    plugins: 'portmap',
    original: 'with nftables, masqAll has no effect',
    plexus: 'it has',
    why: 'a configuration is not half heard',
    seen: /^\d+ (ADD|CHECK)\/node\/filter\/table ip6? cni_hostport, chain masquerading\/\d: nothing \| "ip6? daddr \S+ ct status dnat masquerade/,
  },
  'portmap-gc': {
    plugins: 'portmap',
    original: 'GC does nothing',
    plexus: 'GC removes the mappings of attachments that are no longer valid',
    why: 'a port must not lead to an address that somebody else may have by then',
    seen: /^\d+ (GC|CHECK)\/node\/filter\/(\*nat|table ip6? cni_hostport, chain )/,
  },
  'sbr-table': {
    plugins: 'sbr',
    original: 'a table that has routes is taken, where no rule leads to it',
    plexus: 'it is passed over',
    why: "somebody else's routes are not the interface's",
    seen: /^\d+ (ADD|CHECK|DEL)\/pod\/(rules|routes)\//,
  },
  'sbr-del': {
    plugins: 'sbr',
    original: 'a DEL after the interface leaves the rules',
    plexus: "it removes those of the result's addresses",
    why: 'a table that a rule leads to is never used again',
    seen: /^\d+ DEL\/pod\/rules\/.* \| nothing$/,
  },
  'sbr-check': {
    plugins: 'sbr',
    original: 'CHECK looks at nothing',
    plexus: 'it fails where a rule is gone',
    why: 'the attachment is not as ADD left it',
    seen: /^\d+ CHECK\/(error: nothing \| \{"code":999|result: \{\} \| nothing)/,
  },
  'vrf-del': {
    plugins: 'vrf',
    original: 'DEL fails where the interface is gone, and takes it out of whatever bridge or VRF it is in',
    plexus: 'it succeeds, and takes it out of the VRF of the configuration only',
    why: 'a runtime repeats a DEL whose answer it lost, and sends one after an ADD that failed',
    seen: /^\d+ DEL\/(error: \{"code":999\} \| nothing|result: nothing \| \{\}|pod\/)/,
  },
  'vrf-link-local': {
    plugins: 'vrf',
    original: "the second interface of a VRF takes the first one's link-local route of IPv6 out of its table",
    plexus: 'each has its own',
    why: 'the first must still reach its neighbours',
    seen: /^\d+ \w+\/pod\/routes\/inet6 table 1 type unicast dst fe80::\|64 dev net1 metric 256: nothing \| /,
  },
  'negative-mtu': {
    plugins: 'bridge, ptp, ipvlan',
    original: 'a negative mtu is taken for none',
    plexus: 'it is refused',
    why: 'whoever wrote it meant something else',
    seen: /^\d+ (ADD|DEL)\/(error|result|node|pod|disk)/,
  },
  'loopback-version': {
    plugins: 'loopback',
    original: 'results before 1.0.0 have the keys of 1.1.0',
    plexus: 'results have the keys of their version',
    why: 'other plugins of the chain read it by its version',
    seen: /^\d+ ADD\/result\//,
  },
  'loopback-untouched': {
    plugins: 'loopback',
    original: 'lo is up after an ADD that refused an address on it',
    plexus: 'lo is as it was',
    why: 'a failed ADD leaves nothing',
    seen: /^\d+ (ADD|DEL)\/pod\/(links\/lo|routes)\//,
  },
  'check-lost-address': {
    plugins: 'static',
    original: 'CHECK succeeds where the result lacks an address of the configuration',
    plexus: 'it fails',
    why: 'the attachment is not as the configuration has it',
    seen: /^\d+ CHECK\/(result: \{\} \| nothing|error: nothing \| \{"code":999)/,
  },
  'ipvlan-flag': {
    plugins: 'ipvlan',
    original: 'interfaces of one master reach each other',
    plexus: 'flag private or vepa keeps them apart, in the words of macvlan',
    why: 'the kernel offers it; a configuration without the key is not affected',
    seen: /^\d+ (ADD|CHECK)\/pod\/links\/net1\/linkinfo\/info_data\/(bridge: true \| nothing|private: nothing \| true)$/,
  },
  'check-default-master': {
    plugins: 'ipvlan',
    original: 'CHECK fails where the configuration names no master',
    plexus: 'it succeeds',
    why: 'such a configuration is valid for ADD',
    seen: /^\d+ CHECK\/(error: \{"code":999\} \| nothing|result: nothing \| \{\})$/,
  },
  'address-early': {
    plugins: 'bridge, macvlan, ipvlan, host-device',
    original: 'an address is asked for once the interface is there',
    plexus:
      'it is asked for at the same time, or before; where the interface cannot be made, the next ADD gets the address after it',
    why: 'an ADD takes less time, and a network that has no address left does not take a device off the node',
    seen: /^\d+ (ADD|DEL)\/disk\/test-net(\/last_reserved_ip\.0(\/content)?)?: (nothing|"10\.1\.2\.2") \| /,
  },
  'del-default-master': {
    plugins: 'ipvlan',
    original: 'DEL fails where the configuration names no master, once there is no default route',
    plexus: 'it succeeds',
    why: 'no master is needed to take an interface away',
    seen: /^\d+ DEL\/(error: \{"code":999\} \| nothing|result: nothing \| \{\}|(pod|disk)\/.* \| nothing)$/,
  },
  'veth-queue': {
    plugins: 'bridge, ptp',
    original: "the node's end of the cable has a transmit queue of length 0",
    plexus: "it has the kernel's default",
    why: 'a queueing discipline that is put there later, such as that of bandwidth, takes its limit from it',
    seen: /\/node\/links\/<veth \d>\/txqlen: nothing \| 1000$/,
  },
  'bridge-address': {
    plugins: 'bridge',
    original: 'a bridge that is no gateway has the MAC address of a port, another one whenever ports change',
    plexus: 'it has one of its own from the start',
    why: 'what the neighbours know of it stays true',
    seen: /^\d+ \w+\/(result\/interfaces\/0\/mac|node\/links\/(br0|cni0|<veth \d>)\/(address|linkinfo\/info_(slave_)?data\/(bridge|root|designated)_\w+)): ".*" \| "(8000\.)?<MAC of (br0|cni0)>"$/,
  },
  'bridge-carrier': {
    plugins: 'bridge',
    original: 'a bridge has a carrier, and an address of the link, before any of its ports has one',
    plexus: 'it has them with the first port that has one',
    why: 'the kernel has it so for a bridge whose MAC address was chosen',
    seen: /^\d+ \w+\/node\/(links\/br0\/addresses\/inet6 local <link-local>|routes\/inet6 ).* \| nothing$/,
  },
  'bridge-router-advertisements': {
    plugins: 'bridge',
    original: 'a bridge that was there takes no more router advertisements once a pod is on it',
    plexus: 'it stays as it was, but for being up and having the addresses that it needs',
    why: 'it is not the bridge of this network alone',
    seen: /^\d+ \w+\/node\/sysctls\/br0\/ipv6 accept_ra: "0" \| "1"$/,
  },
  'bridge-subnets': {
    plugins: 'bridge',
    original: 'a gateway has one IPv4 subnet: the second fails, as if somebody else had given the bridge its address',
    plexus: 'it has as many as the network',
    why: 'the addresses are all of this network',
    seen: /^\d+ (ADD|CHECK|DEL)\/(error|result|node|pod|disk)/,
  },
  'bridge-default-route': {
    plugins: 'bridge',
    original:
      'with isDefaultGateway, a default route of the IPAM plugin without a gateway is made a second time, and fails',
    plexus: 'it is the one',
    why: 'it leads to the same gateway',
    seen: /^\d+ (ADD|CHECK|DEL)\/(error|result|node|pod|disk)/,
  },
  'bridge-link-gateway': {
    plugins: 'bridge',
    original: "a gateway such as fe80::1 fails: the bridge's own address of the link is in its way",
    plexus: 'the bridge has both',
    why: 'every interface has an address of the link that the kernel made up',
    seen: /^\d+ (ADD|CHECK|DEL)\/(error|result|node|pod|disk)/,
  },
  'bridge-address-beside': {
    plugins: 'bridge',
    original: "a bridge that has the gateway's address, and an IPv4 address before it, fails",
    plexus: 'it is taken',
    why: 'it has what is asked for',
    seen: /^\d+ (ADD|CHECK|DEL)\/(error|result|node|pod|disk)/,
  },
  'bridge-check': {
    plugins: 'bridge',
    original:
      "CHECK fails for a network of layer 2, for a bridge that is promiscuous for another's sake, and where its MAC address became another port's",
    plexus: "it does not; it fails where the port's VLANs, isolation or hairpin mode are not what the network says",
    why: 'the attachment is as ADD left it; what separates it from others is, too',
    seen: /^\d+ CHECK\/(error: \{"code":999\} \| nothing|result: nothing \| \{\})$/,
  },
  'bridge-native-vlan': {
    plugins: 'bridge',
    original: 'a VLAN that is in vlanTrunk, too, gets a tag: what the pod sends without one is lost',
    plexus: 'it stays that of what has no tag',
    why: 'a trunk may be said in one range',
    seen: /\/vlans\/<veth \d>\/vlans\/\d\//,
  },
  'bridge-vlan-filter': {
    plugins: 'bridge',
    original: 'a VLAN of a bridge that was made without a VLAN filter has no effect',
    plexus: 'it is refused, with the command that helps',
    why: 'a pod must not be in another network than the one that it was given',
    seen: /^\d+ (ADD|DEL)\/(error|result|node|pod|disk)/,
  },
  'no-dad': {
    plugins: 'bridge, ptp',
    original:
      'IPv6 addresses of a cable and of a gateway are looked for before they may be used, which takes a second or two',
    plexus: 'they may be used at once',
    why: 'nobody else is on the cable, and a gateway is the same for every pod of the node',
    seen: /\/addresses\/inet6 local fd00:1::\d prefixlen \d+\/nodad: nothing \| true$/,
  },
  'masquerade-del': {
    plugins: 'bridge, ptp',
    original: 'DEL fails where nftables masquerades and the node has iptables, too',
    plexus: 'it succeeds',
    why: 'the rules that are there are removed; none is missing',
    seen: /^\d+ DEL\/(error: \{"code":999\} \| nothing|result: nothing \| \{\})$/,
  },
  'ptp-lone-address': {
    plugins: 'ptp',
    original: 'an address that is alone in its prefix fails',
    plexus: 'it is taken, with a gateway outside of the prefix, too',
    why: 'the routes of a cable are to single addresses anyway; so networks without subnets give them away',
    seen: /^\d+ (ADD|CHECK|DEL)\/(error|result|node|pod)/,
  },
  'ptp-address-elsewhere': {
    plugins: 'ptp',
    original: 'an address that the node reaches elsewhere is taken, and what is meant for the pod goes there',
    plexus: 'it is refused, and the message names the interface',
    why: 'two networks give the same addresses away',
    seen: /^\d+ (ADD|DEL)\/(error|result|node|pod|disk)/,
  },
  'ptp-one-subnet': {
    plugins: 'ptp',
    original: 'a second interface with an address of the same subnet is refused by the kernel',
    plexus: 'it is made',
    why: 'a pod may have two addresses of one network',
    seen: /^\d+ (ADD|DEL)\/(error|result|node|pod|disk)(\/.*)?: .*/,
  },
  'del-without-namespace': {
    plugins: 'bridge, ptp',
    original: "a DEL without a namespace leaves the node's end of the cable and its routes",
    plexus: 'it removes them, and with them the other end',
    why: 'traffic to the address must not go to a pod that gave it back',
    seen: /^\d+ DEL\/(node|pod)\/.* \| nothing$/,
  },
  'device-del-again': {
    plugins: 'host-device',
    original: 'a DEL fails where there is no device to give back: when it is repeated, or follows an ADD that failed',
    plexus: 'it succeeds, and leaves alone what did not come from the node',
    why: 'the specification requires it: a runtime repeats a DEL whose answer it lost',
    seen: /^\d+ DEL\/(error: \{"code":999\} \| nothing|result: nothing \| \{\})$/,
  },
  'device-del-order': {
    plugins: 'host-device',
    original:
      'DEL releases the address, then moves the device; where that fails the address may be given away while the device is still in the pod',
    plexus: 'DEL releases the address once the device is back',
    why: 'an address is never in use twice',
    seen: /^\d+ DEL\/(pod|disk)\/.*: nothing \| \{/,
  },
  'device-del-namespace': {
    plugins: 'host-device',
    original: 'a DEL whose namespace is gone fails, and one without a namespace keeps the address',
    plexus: 'both release the address',
    why: 'an address does not outlive its pod',
    seen: /^\d+ DEL\/(error: \{"code":999\} \| nothing|result: nothing \| \{\}|disk\/.* \| nothing)$/,
  },
  'tap-flags': {
    plugins: 'tap',
    original: 'with an owner and a group, the interface begins with vnet_hdr and pi',
    plexus: 'it begins without, as with one of the two or none',
    why: 'whoever opens it chooses (TUNSETIFF)',
    seen: /\/pod\/links\/net1\/linkinfo\/info_data\/(pi|vnet_hdr): true \| false$/,
  },
  'tap-owner-and-group': {
    plugins: 'tap',
    original: 'with an owner and a group, mtu and mac have no effect',
    plexus: 'they have',
    why: 'a configuration is not half heard',
    seen: /^\d+ \w+\/(result\/interfaces\/0\/mac|pod\/(links\/net1\/(mtu|address)|sysctls\/net1\/ipv6 mtu)): .* \| ("02:00:00:00:00:0a"|"?1300"?)$/,
  },
  'tap-nobody': {
    plugins: 'tap',
    original: 'owner or group 4294967295 counts as none',
    plexus: 'it is refused',
    why: "it is the kernel's number for nobody",
    seen: /^\d+ ADD\/(error: nothing \| \{"code":7|result|pod\/.* \| nothing$)/,
  },
  'tap-name-taken': {
    plugins: 'tap',
    original: 'an ADD whose name is taken answers with the interface that has it, and leaves another behind',
    plexus: 'it fails, and leaves nothing',
    why: "what has the name is somebody else's",
    seen: /^\d+ ADD\/(error: nothing \| \{"code":999|result|pod\/)/,
  },
  'tap-check': {
    plugins: 'tap',
    original: 'CHECK does not look at what the interface is, nor at its bridge',
    plexus: 'it does',
    why: 'the attachment is not as ADD left it',
    seen: /^\d+ CHECK\/(result: \{\} \| nothing|error: nothing \| \{"code":999)/,
  },
  'dummy-dns': {
    plugins: 'dummy',
    original: 'the dns of the configuration has no effect',
    plexus: "it goes before the IPAM plugin's",
    why: 'every other interface plugin hands it on',
    seen: /^\d+ ADD\/result\/dns(: nothing|\/\w+: .*) \| /,
  },
  'dummy-check': {
    plugins: 'dummy',
    original: 'CHECK does not look at routes',
    plexus: 'it does',
    why: 'the attachment is not as ADD left it',
    seen: /^\d+ CHECK\/(result: \{\} \| nothing|error: nothing \| \{"code":999)/,
  },
  'vlan-del-master': {
    plugins: 'vlan',
    original: 'DEL fails once the master is gone, and where the container of a master in it is',
    plexus: 'it succeeds',
    why: 'no master is needed to let an address go',
    seen: /^\d+ DEL\/(error: \{"code":999\} \| nothing|result: nothing \| \{\}|(pod|disk)\/.* \| nothing)$/,
  },
  'bandwidth-redirect': {
    plugins: 'bandwidth',
    original: 'what a pod sends is led to the IFB by two actions, of which the second is never reached',
    plexus: 'there is one',
    why: 'the first takes the packet away',
    anywhere: true,
    seen: /^\d+ \w+\/node\/queues\/\w+\/\d+\/options\/actions\/1: \{"order":2,"kind":"mirred",.* \| nothing$/,
  },
  'bandwidth-alias': {
    plugins: 'bandwidth',
    original: 'nothing says whose IFB it is',
    plexus: 'its alias does, which is network, container and interface, and GC removes those of attachments that ended',
    why: 'no IFB outlives a lost DEL',
    anywhere: true,
    seen: /^\d+ \w+\/node\/links\/bwp[0-9a-f]{12}\/ifalias: nothing \| "test-net\/c1\/net1"$/,
  },
  'bandwidth-del': {
    plugins: 'bandwidth',
    original:
      'DEL removes the IFB alone, and what the pod goes on to send is dropped; the limit of what it receives stays',
    plexus: 'it takes both limits away',
    why: 'a DEL that succeeds has released everything',
    anywhere: true,
    seen: /^\d+ DEL\/node\/(queues\/?.* \| (nothing|"noqueue"|\{.*)|links\/cable1\/qdisc: "tbf" \| "noqueue")$/,
  },
  'bandwidth-least-burst': {
    plugins: 'bandwidth',
    original: 'what is larger than the burst is dropped, which is every full packet where the burst is small',
    plexus: 'the burst is at least one packet of the MTU',
    why: 'a pod whose connections stop at the first full packet has no network',
    seen: /^\d+ (ADD|CHECK)\/node\/queues\/\w+\/\d+\/options\/(burst|lat): /,
  },
  'bandwidth-longest-burst': {
    plugins: 'bandwidth',
    original: 'a burst that lasts more than 274 seconds becomes any shorter one, and packets may wait for half an hour',
    plexus: 'it is 274 seconds long, and packets wait 25 milliseconds at most',
    why: 'the kernel counts in 32 bits',
    seen: /^\d+ (ADD|CHECK)\/node\/queues\/\w+\/\d+\/options\/(burst|lat): /,
  },
  'bandwidth-subnets': {
    plugins: 'bandwidth',
    original: 'shapedSubnets and unshapedSubnets count only after 1.9.1, and all has the limit',
    plexus: "what the other side's address is not in, or is in, goes past the limit",
    why: 'the keys are in use, and no configuration is half heard',
    seen: /^\d+ \w+\/node\/(queues\/|links\/\w+\/qdisc: "tbf" \| "(htb|noqueue)")/,
  },
  'bandwidth-panic': {
    plugins: 'bandwidth',
    original: 'an ADD with neither prevResult nor a limit ends in a panic',
    plexus: 'it fails with code 7',
    why: 'the message says where the plugin belongs',
    seen: /^\d+ ADD\/error\/code: 2 \| 7$/,
  },
  'firewall-claims': {
    plugins: 'firewall',
    original: 'nothing is noted: rules do not say whose they are',
    plexus: 'it is noted in /run/cni/firewall (dataDir) who has which address',
    why: 'DEL finds its rules without the result, and leaves those of a pod that has the address by now; GC can remove any',
    anywhere: true,
    seen: /^\d+ \w+\/disk\/claims: nothing \| \{/,
  },
  'firewall-backend': {
    plugins: 'firewall',
    original: 'a backend that nobody knows counts as none',
    plexus: 'it is refused',
    why: 'the pod would be let through by other means than those that were asked for',
    seen: /^\d+ (ADD|DEL)\/(error: nothing \| \{"code":7|result: .* \| nothing|node\/filter\/)/,
  },
  'firewall-nftables': {
    plugins: 'firewall',
    original: 'the backend nftables counts as none, which means iptables',
    plexus: 'it is one, with a table of its own for policies',
    why: 'a node need not have iptables',
    seen: /^\d+ (ADD|DEL)\/node\/filter\//,
  },
  'firewall-policy': {
    plugins: 'firewall',
    original:
      "an ingressPolicy takes the pod's interface for the bridge, where that is the first of the result, and has no effect",
    plexus: 'it is refused',
    why: 'nobody would know that the pod is open',
    seen: /^\d+ (ADD|DEL)\/(error: nothing \| \{"code":7|result: .* \| nothing|node\/filter\/)/,
  },
  'firewall-isolated': {
    plugins: 'firewall',
    original: 'on a node without br_netfilter, isolated pods of one bridge reach each other',
    plexus: "the bridge's ports of isolated pods are isolated, too",
    why: 'what stays within the bridge does not come by rules there',
    seen: /\/node\/links\/port1\/linkinfo\/info_slave_data\/isolated: false \| true$/,
  },
  'firewall-late': {
    plugins: 'firewall',
    original: 'a DEL that comes again takes the rules of the pod that has the address by then',
    plexus: 'it leaves them',
    why: 'runtimes may call DEL more than once',
    seen: /^\d+ DEL\/node\/filter\//,
  },
  'firewall-check': {
    plugins: 'firewall',
    original: 'CHECK does not look at the policy of a bridge, and makes chains that are missing',
    plexus: 'it does look, and changes nothing',
    why: 'the attachment is not as ADD left it',
    seen: /^\d+ CHECK\/(result: \{\} \| nothing|error: nothing \| \{"code":999|node\/filter\/)/,
  },
  'dhcp-release': {
    plugins: 'dhcp',
    original: 'what tells the server that an address is given back goes from 0.0.0.0, and no server gets it',
    plexus: 'it goes from the address',
    why: 'the address can be had by another pod',
    seen: /^\d+ DEL\/dhcp\//,
  },
  'dhcp-check': {
    plugins: 'dhcp',
    original: 'a CHECK without a lease gets one',
    plexus: 'it fails, and changes nothing',
    why: 'the attachment is not as ADD left it',
    seen: /^\d+ (CHECK|DEL)\/(result: \{\} \| nothing|error: nothing \| \{"code":999|dhcp\/)/,
  },
} as const satisfies Readonly<Record<string, Difference>>;

export type DifferenceId = keyof typeof differences;

const all: Readonly<Record<string, Difference>> = differences;

/** Whether a difference is one of those that a case lists, or may be seen anywhere. */
export function isListed(found: Found, listed: readonly DifferenceId[]): boolean {
  const anywhere = Object.values(all).filter((difference) => difference.anywhere);
  return [...listed.map((id) => differences[id]), ...anywhere].some(({ seen }) => seen.test(describeFound(found)));
}

export function isSeenAs(id: DifferenceId, found: Found): boolean {
  return differences[id].seen.test(describeFound(found));
}
