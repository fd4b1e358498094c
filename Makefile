# make help lists what can be asked for.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# When the source was committed: a clock that stands before it is wrong.
BUILT ?= $(shell git log -1 --format=%cI 2>/dev/null)
BIN ?= bin/
FUZZTIME ?= 30s
SOAK ?= 10m
FOR ?= 10m

# A step that fails in the middle of a pipe is a failure.
SHELL = /bin/bash
.SHELLFLAGS = -o pipefail -c

# As shipped: one file, no C, nothing of the machine or the folder that built it.
export CGO_ENABLED = 0
BUILD = go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION) -X main.built=$(BUILT)"

.PHONY: build demo demo-factory check test env soak torture fuzz bench packages vuln clean help

build: ## the programs, in bin/ (the default)
	$(BUILD) -o $(BIN) ./cmd/...

demo: build ## a gateway with simulated devices and an aggregator, until Ctrl-C or for DEMO=20s
	@DEMO=$(DEMO) build/demo.sh bin

demo-factory: build ## a gateway with devices that speak Modbus, OPC UA and Sparkplug B, until Ctrl-C or for DEMO=20s
	cd build/factory && go run . $(addprefix -for ,$(DEMO))

check: ## formatting, vet, staticcheck, and that everything compiles: an answer in a minute
	@go run ./build/testrun check

# LIMIT=85m ends what still runs after that time, with the stacks of all goroutines; without it only what hangs for hours.
test: env ## everything that is checked, some 35 minutes on two quiet cores; PART="unit race" for some of it
	@go run ./build/testrun $(addprefix -limit ,$(LIMIT)) $(PART)

# Without the programs of the test environment the tests that need them say so and are skipped.
env: ## what the tests need from Debian, if it is missing
	@build/testenv/install.sh || echo "going on without"

soak: env ## the tests named TestSoak, each for SOAK=10m
	SOAK=$(SOAK) go test -count=1 -timeout=0 -v -p 1 -run '^TestSoak' ./...

# As root, on a machine whose clock, network and disks it may use: it mounts, and needs /dev/fuse and loop devices.
torture: env ## what the world does to a gateway, every class of it for FOR=10m; ARGS="-class cut,kill" for some of it
	cd build/torture && go run . -for $(FOR) $(ARGS)

# `go test -list` prints a package's functions, then the package; `go test -fuzz` takes one function at a time.
fuzz: ## each fuzz test for FUZZTIME=30s
	@go test -list '^Fuzz' ./... | awk '/^Fuzz/ { f[n++] = $$1 } /^ok/ { while (n) print $$2, f[--n] }' | { failed=0; \
	while read -r package function; do \
		echo "== $$package $$function"; \
		go test -run '^$$' -fuzz "^$$function$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s "$$package" </dev/null || failed=1; \
	done; exit $$failed; }

# As root it also counts what the file system itself writes to a card.
bench: ## what it costs, against named baselines, within half an hour on two cores; PART=card,node for some of it
	cd build/bench && go run . $(addprefix -only ,$(PART))

# The folder changes below, and the key may be named from here.
packages: ## .deb and .tar.gz, in dist/; RELEASE_KEY=FILE signs them, RELEASE_MAINTAINER="Name <address>" answers for them
	@key="$(RELEASE_KEY)"; cd build/packages && RELEASE_KEY="$${key:+$$(cd "$(CURDIR)" && realpath -s "$$key")}" \
		RELEASE_MAINTAINER="$(RELEASE_MAINTAINER)" go run .

# Not part of the tests: what it says changes without the tree, and it asks a server.
vuln: ## known vulnerabilities of what the programs call, where the Go vulnerability database can be reached
	@said=$$(go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./cmd/... 2>&1); code=$$?; echo "$$said"; \
	case "$$said" in *"fetching vulnerabilities"*) echo "NOT CHECKED: the vulnerability database cannot be reached from here";; esac; exit $$code

clean: ## remove bin/ and dist/
	rm -rf bin dist

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
