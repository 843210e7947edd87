//! Brokers that this package has itself, started as sweeps start them.

use wisp_lab::broker::{Broker, StartOptions};
use wisp_lab::failure::Interrupt;
use wisp_lab::paths::Scratch;

fn drive(url: &str, count: u32) -> bool {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wisp-loadgen"));
    command.args(["run", "--receivers", "0", "--url", url, "--count", &count.to_string()]);
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn the_sink_is_started_driven_and_stopped() {
    let scratch = Scratch::new().unwrap();
    let options = StartOptions { workers: 2, ..StartOptions::default() };
    let running = Broker::Sink.start(&options, &scratch, &Interrupt::default()).unwrap();
    assert!(drive(&running.url(), 1000));
    if let Some(usage) = running.usage() {
        assert!(usage.threads >= 1 && usage.peak_rss_bytes >= usage.rss_bytes, "{usage:?}");
    }
    let url = running.url();
    running.stop().unwrap();
    assert!(!drive(&url, 1), "it goes on");
}
