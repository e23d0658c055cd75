# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Not `npm ci`: it refuses a lock without the packages of platforms that a mirror does not carry.
node_modules: package-lock.json
	npm install --no-save --no-audit --no-fund --loglevel=error
	touch $@

test: node_modules ## all tests
	node --test $$(find test -name '*.test.ts' -not -path 'test/vm/*')

.PHONY: help test
