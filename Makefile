# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Not `npm ci`: it refuses a lock without the packages of platforms that a mirror does not carry. The node among them
# needs a library that a small Debian lacks.
node_modules: package-lock.json
	npm install --no-save --no-audit --no-fund --loglevel=error
	node --version > /dev/null || (apt-get update -q=2 && apt-get install -q=2 -y libatomic1)
	touch $@

# Debian packages, of which only what is missing is fetched: those for the machine are installed, the others unpacked in build.
setup: node_modules ## get all that the other targets need: they do so themselves
	node tools/get.ts gcc libc6-dev ip nft iptables dnsmasq kubectl modprobe openssl xz qemu-system-x86_64 \
		kernel busybox-static go-plugins-1.1 go-plugins-1.9

# In build/plexus.
shim: node_modules ## build the CNI binary, which container runtimes execute
	node tools/get.ts gcc libc6-dev
	$(MAKE) --no-print-directory -C shim

# In build/plexus.cjs: as CommonJS, what a command does not use is not loaded. koffi stays outside, for its binaries of
# each platform; gRPC is a file of its own, for a node without devices would hold its text in memory.
bundle := --bundle --platform=node --format=cjs --target=node24 --log-level=warning
bundle: node_modules ## build the daemon as production runs it: build/plexus.cjs and build/grpc.cjs
	esbuild src/cli/main.ts $(bundle) --external:koffi --alias:@grpc/grpc-js=./grpc.cjs --external:./grpc.cjs \
		--define:import.meta.dirname=__dirname --outfile=build/plexus.cjs
	esbuild @grpc/grpc-js $(bundle) --outfile=build/grpc.cjs

# What it makes is kept in the repository: only whoever changes a .proto needs it.
proto: node_modules ## types of kubelet's APIs from src/kubelet/*.proto
	node tools/get.ts protoc
	protoc --es_out=. --es_opt=target=ts,import_extension=ts src/kubelet/*.proto

# Its threads wait for the processes that it starts: at most 110 at a time.
bench: shim bundle ## speed and memory beside the containernetworking plugins, and of whole pods; BENCH_JSON=FILE writes the figures
	node tools/get.ts go-plugins-1.9
	UV_THREADPOOL_SIZE=128 node bench/main.ts

check: node_modules ## types and style
	tsc
	biome check

demo: shim ## the walk-through: a pod with a second interface, from its manifests to what kubectl and ip show
	node tools/demo.ts

# Two files at once, on two cores too; a test that hangs fails after twenty minutes: all that runs in the VM (test/vm/guest) is one.
test: setup ## all tests, those in the test VM included
	node --test --test-concurrency=2 --test-timeout=1200000 $$(find test -name '*.test.ts' -not -path 'test/vm/guest/*')

vm: setup ## only the tests in the test VM
	node --test test/vm/*.test.ts

.PHONY: help setup shim bundle proto bench check demo test vm
