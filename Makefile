# Everything sets itself up: what is missing is installed, with a line that says so; what is there is skipped.

PORT ?= 1883
FUZZ_SECONDS ?= 60
LISTEN = 127.0.0.1:$(PORT)
PREFIX ?= /usr/local
LOOM_TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)/loom

.DEFAULT_GOAL := help
.PHONY: help run run-wasmer run-wasmtime run-wasmedge run-wasip2 wasm aot test test-native test-parts test-loom test-wasm \
	test-wasmer test-wasmtime test-wasmedge test-wasip2 lint deny fuzz bench-smoke bench-memory bench-secure bench-durable bench-embed bench-isolation \
	release experiments experiments-quick experiment-programs experiment-modules install deb image

help: ## Show the targets
	@sed -nE 's/^([a-z][a-z -]*):.*## (.*)/  \1\n        \2/p' $(MAKEFILE_LIST)
	@echo 'PORT=1883 sets the port of the run targets, FUZZ_SECONDS=60 the time of each fuzz target, ONLY the experiments.'

run: ## Start the broker on 127.0.0.1:PORT
	cargo run --release -p wisp-broker-program -- --listen $(LISTEN)

run-wasmer run-wasmtime run-wasmedge run-wasip2: run-%: ## Start the broker's module under a runtime
	@$(MAKE) --no-print-directory aot HOSTS=$*
	wasm-targets/$*/run $(LISTEN)

wasm: ## Build the WebAssembly modules into target/wasm
	wasm-targets/toolchain
	wasm-targets/build $(HOSTS)
	wasm-targets/imports $(HOSTS)

aot: wasm ## Compile the modules ahead of time
	wasm-targets/runtimes $(HOSTS)
	wasm-targets/aot $(HOSTS)

install: release ## The programs into PREFIX/bin, by default /usr/local/bin
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(addprefix $(or $(CARGO_TARGET_DIR),target)/release/,wisp-broker wisp wisp-loadgen)

deb: release ## A Debian package with a service for systemd, into target/debian
	packaging/deb

image: ## OCI images of the native broker and of the module, into target/images
	packaging/image

release: # The programs that suites and benchmarks start
	cargo build --release -p wisp-broker-program -p wisp-client-program -p wisp-loadgen-program -p wisp-transfer -p wisp-compute

experiment-modules: # The programs that experiments start beside the broker, as modules compiled ahead of time
	wasm-targets/toolchain
	wasm-targets/runtimes
	wasm-targets/build --package wisp-transfer --bin wisp-transfer
	wasm-targets/aot --name wisp-transfer
	wasm-targets/build --package wisp-compute --bin wisp-compute --plain
	wasm-targets/aot --name wisp-compute --plain

test: ## All tests, natively and under each runtime; missing runtimes are installed during the native tests
	@wasm-targets/runtimes --ahead $$PPID
	@.ci/timed test-native $(MAKE) --no-print-directory test-native
	@.ci/timed test-loom $(MAKE) --no-print-directory test-loom
	@.ci/timed test-wasm $(MAKE) --no-print-directory test-wasm

test-native: release ## All tests that need no WebAssembly runtime
	cargo test --workspace --exclude wisp-e2e
	e2e/setup
	WISP_HOST=native cargo test -p wisp-e2e

test-parts: release ## Tests with Node.js, a browser, runc and debootstrap, natively; all are installed if they are missing
	e2e/setup-parts
	WISP_E2E_PARTS=1 WISP_HOST=native cargo test -p wisp-e2e --test suite -- browser:: mqtt_js
	packaging/check

test-loom: ## Every interleaving of the lock protocols, on small cases
	RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=$(LOOM_TARGET_DIR) \
		cargo test --release -p wisp-broker -p wisp-engine --lib loom

test-wasm: ## The same suites under each runtime
	@for host in $$(wasm-targets/toolchain --hosts); do $(MAKE) --no-print-directory test-$$host || exit; done

test-wasmer test-wasmtime test-wasmedge test-wasip2: test-%: release
	@$(MAKE) --no-print-directory aot HOSTS=$*
	e2e/setup
	wasm-targets/check $*
	wasm-targets/build --package wisp-client-program --bin wisp $*
	wasm-targets/aot --name wisp $*
	wasm-targets/conformance $*
	WISP_HOST=$* cargo test -p wisp-e2e

lint: ## Formatting, clippy and rustdoc, warnings denied; the rules on words, features and circles
	.ci/words
	.ci/features
	cargo run --quiet --package wisp-lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	.ci/each-feature
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --quiet

deny: ## Licences and sources of all dependencies
	.ci/deny

fuzz: ## Each fuzz target for FUZZ_SECONDS
	.ci/fuzz $(FUZZ_SECONDS)

# Another build to compare with: a native program, a checkout with its release build and modules, or both.
COMPARED = $(if $(AGAINST),--against $(AGAINST)) $(if $(AGAINST_ROOT),--against-root $(AGAINST_ROOT))

ifneq ($(AGAINST)$(AGAINST_ROOT),)
bench-smoke: release $(if $(AGAINST_ROOT),aot)
	cargo run --release -p wisp-bench -- smoke $(COMPARED)
else
bench-smoke: release aot ## Messages a second at each QoS on every host, against mosquitto and rumqttd; with AGAINST=PROGRAM or AGAINST_ROOT=DIR against another build
	e2e/setup
	bench/setup
	cargo run --release -p wisp-bench -- smoke
endif

bench-memory: release ## Memory of the native broker for each idle client, and for each session away; with AGAINST or AGAINST_ROOT too
	cargo run --release -p wisp-bench -- memory $(COMPARED)

bench-embed: ## Messages between clients in a process with a broker, beside the same over loopback; ARGS="MESSAGES REPETITIONS"
	cargo run --release -p wisp-bench --example embed -- $(ARGS)

bench-secure: release ## Processor time and memory of TLS, WebSocket and access rules in the broker, beside mosquitto; some minutes; ARGS="--case rules,wasmer"
	e2e/setup
	bench/isolation/peers
	@$(MAKE) --no-print-directory aot HOSTS=wasmer
	cargo run --release -p wisp-bench -- secure $(ARGS)

bench-durable: release ## Durable messages beside memory only, mosquitto with persistence and JetStream; at most 15 minutes; ARGS="--case away,queue --data-root DIR"
	e2e/setup
	bench/isolation/peers
	@$(MAKE) --no-print-directory aot HOSTS=wasmer
	cargo run --release -p wisp-bench -- durable $(ARGS)

bench-isolation: release ## The harm that one bad client does to the others, beside mosquitto and nats-server; ARGS="--case NAME --broker wisp,wasmer --quick"
	bench/isolation/peers
	cargo run --release -p wisp-isolation -- $(ARGS)

experiments: experiment-programs ## The experiments of docs/performance.md, or those of ONLY="forwarding latency"; at most an hour, taken up where ended; ONLY=compute-long takes nearly another
	bench/experiments $(if $(OUT),--out $(OUT)) $(ONLY)

experiments-quick: experiment-programs ## The same with few samples, into target/experiments-quick; at most 6 minutes
	bench/experiments --quick $(if $(OUT),--out $(OUT)) $(ONLY)

experiment-programs: release aot experiment-modules # All that experiments start
	bench/setup
	cargo build --release -p wisp-bench
