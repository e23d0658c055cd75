# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

node_modules: package-lock.json
	npm ci --no-audit --no-fund
	touch node_modules

test: node_modules ## all tests
	node --test $$(find test -name '*.test.ts' -not -path 'test/vm/*')

.PHONY: help test
