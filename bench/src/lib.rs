//! Benchmarks of the Wisp broker against its peers.
