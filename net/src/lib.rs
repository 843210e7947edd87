//! Sockets and readiness over several hosts: native, WASIX, WASI preview 1, WasmEdge, memory.
